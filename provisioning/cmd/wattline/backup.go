package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wattline/wattline/provisioning/client"
)

const (
	backupsPath = "/api/v1/backups"
	// lookAgain is how often --wait looks.
	lookAgain = time.Second
)

var backupColumns = []column{
	col("BACKUP", "id"), col("MADE", "at"), col("DAYS", "days"), col("POINTS", "points"),
	{title: "SIZE", of: func(d document) string { return bytesText(d.text("bytes")) }},
	col("BUILDS ON", "basis"), col("ERROR", "error"),
}

func backupCommands() []command {
	list := command{
		name: "backup", args: "[list]", short: "the backups that can be restored", bind: noFlags(backupList),
		long:     "Each holds everything, however little of it was new. What is in none of them is\nsaid by --json, and by the restore.",
		examples: []string{"wattline backup", "wattline backup list --json"},
	}
	same := list
	same.name, same.args, same.short = "backup list", "", "the same as backup"
	return []command{
		list, same,
		{
			name: "backup start", short: "make a backup now", bind: backupStart,
			long:     "Only what has changed is read and stored, unless --full reads it all again.\n--wait waits until it is made, and fails when it fails.",
			examples: []string{"wattline backup start --wait", "wattline backup start --full --reason \"before the move\""},
		},
		{
			name: "backup verify", short: "restore the newest backup for trial", bind: backupVerify,
			long:     "It is restored into an InfluxDB of its own beside the cloud, and every day of it\nis compared. Nothing else changes.",
			examples: []string{"wattline backup verify --wait"},
		},
		{name: "backup status", short: "how backups and trials went, and when the next are", bind: noFlags(backupStatus)},
		{
			name: "backup restore", args: "[ARGUMENTS OF wattline-cloud restore]", short: "bring a backup back on this machine, by wattline-cloud restore", local: true, bind: backupRestore,
			long:     "Runs wattline-cloud restore, found beside wattline or in PATH, while the cloud is\nstopped. Everything behind -- goes to it as it is; wattline backup restore --\n-help lists it.",
			examples: []string{"wattline backup restore -- -from /mnt/backup/wattline -dry-run"},
		},
	}
}

// bytesText is how people read a number of bytes.
func bytesText(number string) string {
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return number
	}
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			return strconv.FormatFloat(n, 'f', map[bool]int{true: 0, false: 1}[unit == "B"], 64) + " " + unit
		}
		n /= 1000
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " TB"
}

func backupList(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	d, _, err := s.get(ctx, backupsPath) // all on one page
	if err != nil {
		return err
	}
	items, _ := d.at("items").([]any)
	if s.json {
		text, err := json.Marshal(items)
		if err != nil {
			return err
		}
		return s.raw(text)
	}
	var docs []document
	for _, item := range items {
		if one, ok := item.(map[string]any); ok {
			docs = append(docs, one)
		}
	}
	return s.table(docs, backupColumns, "No backup was made yet.")
}

func backupStatus(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	d, _, err := s.get(ctx, backupsPath+"/status")
	if err != nil {
		return err
	}
	return s.show(d)
}

// backupWish is what is begun, and whether to wait for it.
type backupWish struct {
	path   string
	last   string // its outcome, in the status
	wait   bool
	full   bool
	reason string
}

func backupStart(f *flag.FlagSet) action {
	w := &backupWish{path: backupsPath, last: "last"}
	f.BoolVar(&w.full, "full", false, "read every day, whether it has changed or not")
	return w.bind(f)
}

func backupVerify(f *flag.FlagSet) action {
	return (&backupWish{path: backupsPath + "/verify", last: "tried"}).bind(f)
}

func (w *backupWish) bind(f *flag.FlagSet) action {
	f.BoolVar(&w.wait, "wait", false, "wait until it is done")
	f.StringVar(&w.reason, "reason", "", "why, for the log")
	return w.run
}

func (w *backupWish) run(ctx context.Context, s *session, args []string) error {
	if err := none(args); err != nil {
		return err
	}
	before, _, err := s.get(ctx, backupsPath+"/status")
	if err != nil {
		return err
	}
	q := url.Values{}
	if w.full {
		q.Set("full", "true")
	}
	if w.reason != "" {
		q.Set("reason", w.reason)
	}
	if _, err := s.do(ctx, client.Request{Method: http.MethodPost, Path: w.path, Query: q}); err != nil {
		return err
	}
	if !w.wait {
		s.say("It begins as soon as nothing else is done; `wattline backup status` tells how it goes.")
		return nil
	}
	return w.await(ctx, s, before.text(w.last+".began"))
}

// await looks until there is another outcome than before.
func (w *backupWish) await(ctx context.Context, s *session, before string) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		d, _, err := s.get(ctx, backupsPath+"/status")
		if err != nil {
			return err
		}
		if began := d.text(w.last + ".began"); began != before && began != "" {
			return w.tell(s, d)
		}
		if days := d.text("progress.days"); days != "" {
			fmt.Fprintf(s.stderr, "%s: %s of %s days, %s new\n", d.text("progress.doing"), d.text("progress.days_done"), days, bytesText(d.text("progress.new_bytes")))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (w *backupWish) tell(s *session, d document) error {
	if text := d.text(w.last + ".error"); text != "" {
		return &exit{exitNotDone, text}
	}
	if s.json {
		text, err := json.Marshal(d.at(w.last))
		if err != nil {
			return err
		}
		return s.raw(text)
	}
	done := map[string]string{"last": "made", "tried": "restored for trial, and is what was copied"}[w.last]
	s.say("%s is %s: %s days, %s points.", d.text(w.last+".backup"), done, d.text(w.last+".days"), d.text(w.last+".points"))
	if note := d.text(w.last + ".note"); note != "" {
		s.say("%s", note)
	}
	return nil
}

// backupRestore is local: what it brings back are files of the cloud, whose program
// does it.
func backupRestore(*flag.FlagSet) action {
	return func(ctx context.Context, s *session, args []string) error {
		program, err := beside("wattline-cloud")
		if err != nil {
			return err
		}
		return s.runProgram(ctx, program, append([]string{"restore"}, args...))
	}
}
