// Package server is a private Hub: what the clients of HuggingFace's Hub speak,
// on a folder of one's own machine. Protocol facts stand in the comments where
// they matter; the routes are one table in routes.go.
//
// # The data folder
//
//	hub.db                  users, tokens (hashed), repos, links, discussions (package meta)
//	git/ab/<repo id>.git    one bare git repository a repo (package gitrepo)
//	lfs/objects/ab/cd/<sha256>   large files, each once (package lfs)
//	lfs/temp, lfs/parts     uploads under way; leftovers are removed after two days
//	mirror/                 what was read from another Hub (package mirror); may be deleted
//	xet/                    xorbs of uploads under way (package xet), also removed; bounded
//	admin.sock              while a server runs: where `mes hub user add` and the like reach it
//
// The folder may be copied while no server runs. While one runs, [Server.Backup]
// makes a consistent copy. [Server.Fsck] checks a folder,
// [Server.Collect] removes what nothing leads to.
//
// # Who may do what
//
// A repo belongs to a user or to an organization. Public repos are read by
// anybody, gated ones (their files) by those who were let in. Every route says
// in the table what it asks for, and one function decides. A repo that the
// caller may not read answers as one that does not exist: 401 without a token,
// 404 with one.
//
// # Large files
//
// A large file is stored once however many repos hold it, but a repo holds it
// only after somebody who may write there has sent its bytes. Knowing the hash
// of another repo's file gives nothing.
//
// Clients that upload through Xet are met by package xet, which makes plain files
// of what they send; downloads never need it.
//
// # Another Hub
//
// With Config.Upstream, reads of repos that are not here go to another Hub and
// through a cache (package mirror). Its users' tokens are passed on, ours never
// are. What is public stays readable when that Hub is gone; for anything else it is
// asked each time. A repo that is here hides one of the same name there, but only
// from those who see it. Lists name what is here first.
//
// # Pages
//
// People see repos, cards, files, tensors, discussions and collections at the same
// addresses (package view).
// Pages only read and contain no script. A browser signs in with the user's name
// and a token as the password; what other sites make it send is refused.
//
// # Durability
//
// Objects are synced and named before a ref points to them, and the ref is moved
// last, by compare and swap. What the database says of a commit (sizes, the
// model card) is made from the commit and can be made again.
package server
