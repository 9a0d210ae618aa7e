package hs110_test

import (
	"io"
	"net"
	"testing"

	"github.com/wattline/wattline/shared/hs110"
	"github.com/wattline/wattline/shared/hs110/hs110test"
)

func BenchmarkPoll(b *testing.B) {
	p := hs110test.New(b, hs110test.Options{Hardware: hs110test.HW2, Generate: fixed})
	c, err := hs110.New(p.Address(), hs110.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareLoop is the least that a poll can cost: connect, ask, read.
func BenchmarkBareLoop(b *testing.B) {
	p := hs110test.New(b, hs110test.Options{Hardware: hs110test.HW2, Generate: fixed})
	frame := hs110.AppendFrame(nil, []byte(`{"system":{"get_sysinfo":{}},"emeter":{"get_realtime":{}}}`))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", p.Address())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf[:4]); err != nil {
			b.Fatal(err)
		}
		n := int(buf[2])<<8 | int(buf[3])
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	body := []byte(`{` + goodInfo + `,` + goodMeter + `}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hs110.ReadAnswer(body); err != nil {
			b.Fatal(err)
		}
	}
}
