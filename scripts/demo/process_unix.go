//go:build unix && !linux

package main

import "syscall"

// attributes keep a child from the terminal's signals, which are ours to act on.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
