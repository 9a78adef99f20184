// Package client talks to a HuggingFace Hub, or to any server with its protocol:
// it downloads into the cache that huggingface_hub uses, uploads, and manages
// repositories.
//
//	c, err := client.New(client.Config{Cache: dir, Token: token})
//	s, err := c.Snapshot(ctx, client.Repo{ID: "acme/swarm"}, "main", client.SnapshotOptions{})
//	// s.Dir holds the files of commit s.Commit
//
// What it holds to:
//
//   - A download is pinned to one commit. What arrives is checked against its hash,
//     sha256 for LFS objects and git's blob id for the rest, before it gets its name.
//   - A download that was cut goes on where it ended, also in another process.
//   - The token goes to the endpoint's scheme, host and port alone, and into no error.
//   - Names from a server become paths only after they are checked, and files are
//     written below an os.Root.
//   - An upload sends what the server lacks, and a commit whose reply was lost is
//     recognised instead of made twice.
//
// The cache's layout is described in the Hub's documentation ("local cache").
// Xet, the Hub's chunk store, is not used: its servers answer LFS and plain HTTP.
package client
