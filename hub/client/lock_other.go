//go:build !unix

package client

import "os"

// tryLock says that there are no locks; downloads then use names of their own.
func tryLock(*os.File) (bool, error) { return false, errNoLocks }
