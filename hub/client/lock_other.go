//go:build !unix

package client

import (
	"io/fs"
	"os"
)

// tryLock says that there are no locks; downloads then use names of their own.
func tryLock(*os.File) (bool, error) { return false, errNoLocks }

// owned cannot tell.
func owned(fs.FileInfo) bool { return true }
