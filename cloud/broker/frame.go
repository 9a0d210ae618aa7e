package broker

// frame follows MQTT packets in a stream without keeping them: one byte of
// type, one to four of length, the body (MQTT 3.1.1 section 2.2).
type frame struct {
	packets int // begun so far, headers complete
	started bool
	digits  int // length bytes seen
	length  int // as far as known
	body    int // length of the packet under way
	left    int // bytes of it to come
}

// underWay tells whether a packet has begun and not ended.
func (f *frame) underWay() bool { return f.started || f.left > 0 }

// take consumes some of b, which is not empty, and gives the rest. begun tells
// that the header of a packet became complete; its length is in body.
func (f *frame) take(b []byte) (rest []byte, begun bool, err error) {
	if f.left > 0 {
		n := min(f.left, len(b))
		f.left -= n
		return b[n:], false, nil
	}
	if !f.started {
		f.started, f.digits, f.length = true, 0, 0
		return b[1:], false, nil
	}
	f.length |= int(b[0]&0x7f) << (7 * f.digits)
	f.digits++
	if b[0]&0x80 == 0 {
		f.started, f.body, f.left = false, f.length, f.length
		f.packets++
		return b[1:], true, nil
	}
	if f.digits == maxLengthSize {
		return nil, false, errFrame
	}
	return b[1:], false, nil
}
