// Package gitrepo keeps the commits of one hub repository in a bare git
// repository, through go-git: ids are git's own, and git itself can read the
// folder. It adds what a server needs and go-git leaves open: writes that
// survive a killed process (objects are synced before a ref names them, and a
// ref moves last, by compare and swap), readers that run side by side, edits of
// a tree without a working copy, and the checks that every commit has to pass,
// however it arrives.
//
// A folder is what `git init --bare` makes: HEAD, config, objects, refs. New
// objects are loose when they are few, else a pack. Nothing is ever deleted.
package gitrepo
