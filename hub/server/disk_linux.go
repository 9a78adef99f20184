package server

import (
	"fmt"
	"syscall"
)

// freeBytes is the space that is left for us where dir lies.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the space left in %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
