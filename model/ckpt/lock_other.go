//go:build !unix

package ckpt

import "os"

// tryLock says that there are no locks.
func tryLock(*os.File) (bool, error) { return false, errNoLocks }
