// Package xet takes uploads that arrive through the Xet protocol and turns them
// into plain files.
//
// A stock client cuts its files into chunks, packs chunks into xorbs and sends
// those; then it sends a shard, which says for each file which chunks of which
// xorbs it consists of. The package reads both formats, checks every hash on the
// way, keeps xorbs until a shard asks for them, and hands each file to the store
// of large files once its sha256 is proved. Nothing is served in the Xet format:
// downloads are plain HTTP.
//
//	hash.go    hashes of chunks, xorbs, files and ranges, and their text form
//	chunk.go   one chunk: header, LZ4, byte grouping
//	xorb.go    a serialized xorb, read chunk by chunk
//	shard.go   a shard, read file by file
//	store.go   xorbs on disk, apart for each scope
//	file.go    a file read from stored xorbs
//	token.go   signed access tokens
//	bridge.go  the HTTP handler
//	shards.go  its part that makes files of shards
//
// The formats are those of HuggingFace's Xet specification (hub-docs, docs/xet).
package xet
