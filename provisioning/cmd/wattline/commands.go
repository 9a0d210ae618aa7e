package main

import (
	"context"
	"flag"
	"slices"
	"strings"
)

// command is one thing that wattline can do, named by one to three words.
type command struct {
	name     string // such as "devices create"
	args     string // such as "ID..."
	short    string // for lists, in a line
	long     string // more for its own help; may be empty
	examples []string
	// local commands need no server.
	local bool
	// bind adds the command's flags and gives what runs when they are read.
	bind func(f *flag.FlagSet) action
}

// action does what a command is for, with the arguments that are no flags. The
// exit code is 0 where it gives no error; an *exit chooses another.
type action func(ctx context.Context, s *session, args []string) error

// noFlags is the bind of a command without flags of its own.
func noFlags(a action) func(*flag.FlagSet) action {
	return func(*flag.FlagSet) action { return a }
}

// group is a list of commands that belong together, one file each.
type group struct {
	title    string
	commands func() []command
}

// groups are all commands in the order of the help. A new group is a file with a
// function like these and a line here.
var groups = []group{
	{"The site", siteCommands},
	{"Places and plugs", deviceCommands},
	{"", plugCommands},
	{"", onboardCommands},
	{"Gateways", gatewayCommands},
	{"", imageCommands},
	{"", sourceCommands},
	{"Inventory", inventoryCommands},
	{"People", tokenCommands},
	{"Using it", useCommands},
	{"When something is wrong", alertCommands},
	{"", doctorCommands},
	{"Backups", backupCommands},
}

// all lists every command.
func all() []command {
	var list []command
	for _, g := range groups {
		list = append(list, g.commands()...)
	}
	return append(list, versionCommand())
}

// find gives the command that the arguments begin with, and the arguments behind
// its name. near are the commands of the same first word.
func find(args []string) (c *command, rest []string, near []command) {
	commands := all()
	for words := min(3, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		if i := slices.IndexFunc(commands, func(c command) bool { return c.name == name }); i >= 0 {
			return &commands[i], args[words:], nil
		}
	}
	for _, c := range commands {
		if first, _, _ := strings.Cut(c.name, " "); len(args) > 0 && first == args[0] {
			near = append(near, c)
		}
	}
	return nil, args, near
}
