//go:build !linux

package acceptance

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// ownGroup gives a process a group of its own, so that it can be ended with all
// that it has started.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// spawn starts a process.
func spawn(cmd *exec.Cmd) error { return cmd.Start() }

// childrenOf returns the pids of a process's children that run a program.
func childrenOf(parent int, program string) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,command=").Output()
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(parent) || !strings.Contains(line, program) {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
