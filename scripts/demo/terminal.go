package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// untilStopped ends when somebody stops the demo, or its terminal is gone. Its
// cause says which.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{
		os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT,
		syscall.SIGPIPE, // nobody reads what is printed
	}
	if signal.Ignored(syscall.SIGHUP) { // nohup
		return signal.NotifyContext(ctx, signals...)
	}
	ctx, stop := signal.NotifyContext(ctx, append(signals, syscall.SIGHUP)...)
	ctx, cancel := context.WithCancelCause(ctx)
	if !terminalGone() {
		go func() {
			// If make leads the session, it gets the SIGHUP, and keeps it to itself.
			for sleep(ctx, time.Second) == nil {
				if terminalGone() {
					cancel(errors.New("the terminal is gone"))
				}
			}
		}()
	}
	return ctx, func() { cancel(nil); stop() }
}

// terminalGone reports whether there is no controlling terminal.
func terminalGone() bool {
	tty, err := os.Open("/dev/tty")
	if err == nil {
		tty.Close()
	}
	return errors.Is(err, syscall.ENXIO)
}

var errNotConfirmed = errors.New("not confirmed: nothing was done; without OPENAI_ADMIN_KEY, OpenAI is simulated")

// confirm asks on the terminal.
func confirm(ctx context.Context, stdin *os.File, stdout io.Writer) error {
	if !isTerminal(stdin) {
		return errors.New("there is no terminal to ask on: DEMO_REAL=yes runs against OpenAI itself without asking; without OPENAI_ADMIN_KEY, it is simulated")
	}
	fmt.Fprint(stdout, "Go on? [y/N] ")
	answered := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdin).ReadString('\n')
		answered <- line
	}()
	select {
	case line := <-answered:
		if !isYes(line) {
			return errNotConfirmed
		}
		return nil
	case <-ctx.Done():
		fmt.Fprintln(stdout)
		return errNotConfirmed
	}
}

func isYes(line string) bool {
	line = strings.TrimSpace(line)
	return strings.EqualFold(line, "y") || strings.EqualFold(line, "yes")
}

// isTerminal reports whether a file is a character device other than /dev/null.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
