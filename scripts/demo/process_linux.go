package main

import (
	"runtime"
	"syscall"
)

// The kernel takes the end of the thread that started a child for the end of its
// parent. So children are started by the main goroutine, and that stays on the
// main thread.
func init() { runtime.LockOSThread() }

// attributes keep a child from the terminal's signals, which are ours to act on,
// and end it if we are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
