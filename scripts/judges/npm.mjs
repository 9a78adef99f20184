// Walks through @huggingface/hub against the hub that HUB names.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as hub from "@huggingface/hub";

const at = { hubUrl: process.env.HUB, accessToken: process.env.TOKEN };
const bob = { hubUrl: process.env.HUB, accessToken: process.env.BOB };
const repo = { type: "model", name: "alice/js" };
const bytes = (n, seed) => Uint8Array.from({ length: n }, (_, i) => (i * 7919 + seed * 104729 + (i >> 8)) & 255);
const text = async (blob) => await blob.text();
const all = async (list) => { const out = []; for await (const item of list) out.push(item); return out; };

assert.equal((await hub.whoAmI(at)).name, "alice");
await hub.createRepo({ ...at, repo, license: "mit", files: [{ path: "first.txt", content: new Blob(["first"]) }] });
await assert.rejects(hub.createRepo({ ...at, repo }), (e) => e.statusCode === 409);
assert.equal(await text(await hub.downloadFile({ ...at, repo, path: "first.txt" })), "first");

const large = bytes(300_000, 1);
await hub.uploadFiles({
	...at, repo, useXet: false, commitTitle: "files",
	files: [
		{ path: "a/large.bin", content: new Blob([large]) },
		{ path: "a/b/small.txt", content: new Blob(["small"]) },
		{ path: "Datei ü 1.txt", content: new Blob(["odd name"]) },
		{ path: "model.safetensors", content: new Blob([readFileSync(process.env.SAFETENSORS)]) },
	],
});
const got = new Uint8Array(await (await hub.downloadFile({ ...at, repo, path: "a/large.bin", xet: false })).arrayBuffer());
assert.deepEqual(got, large);
assert.match(await text(await hub.downloadFile({ ...at, repo, path: "a/large.bin", raw: true })), /^version https:\/\/git-lfs/);
assert.equal(await text(await hub.downloadFile({ ...at, repo, path: "Datei ü 1.txt" })), "odd name");
assert.equal(await hub.downloadFile({ ...at, repo, path: "absent" }), null);

const files = await all(hub.listFiles({ ...at, repo, recursive: true, expand: true }));
assert.deepEqual(files.map((f) => f.path).sort(),
	[".gitattributes", "Datei ü 1.txt", "README.md", "a", "a/b", "a/b/small.txt", "a/large.bin", "first.txt", "model.safetensors"].sort());
assert.equal(files.find((f) => f.path === "a/large.bin").lfs.size, large.length);
const info = await hub.fileDownloadInfo({ ...at, repo, path: "a/large.bin" });
assert.equal(info.size, large.length);
assert.ok(await hub.fileExists({ ...at, repo, path: "first.txt" }));
assert.ok(!(await hub.fileExists({ ...at, repo, path: "second.txt" })));
const paths = await hub.pathsInfo({ ...at, repo, paths: ["first.txt", "a/large.bin", "none"], expand: true });
assert.equal(paths.length, 2);
assert.equal((await hub.modelInfo({ ...at, name: repo.name, additionalFields: ["sha", "tags"] })).name, repo.name);
assert.ok((await all(hub.listModels({ ...at, search: { owner: "alice" } }))).some((m) => m.name === repo.name));

const meta = await hub.parseSafetensorsMetadata({ ...at, repo, computeParametersCount: true });
assert.equal(Object.values(meta.parameterCount).reduce((a, b) => a + b, 0) > 14_000_000, true);

const commits = await all(hub.listCommits({ ...at, repo }));
assert.deepEqual(commits.map((c) => c.title), ["files", "initial commit"]);
assert.equal(await hub.countCommits({ ...at, repo }), 2);
await hub.createBranch({ ...at, repo, branch: "side" });
await hub.uploadFile({ ...at, repo, branch: "side", useXet: false, file: { path: "side.txt", content: new Blob(["side"]) } });
assert.equal(await text(await hub.downloadFile({ ...at, repo, path: "side.txt", revision: "side" })), "side");
await hub.deleteBranch({ ...at, repo, branch: "side" });

// Listings of more than one page; npm.sh made the 1,100 commits.
const paged = { type: "model", name: "alice/js-paged" };
const many = Array.from({ length: 1200 }, (_, i) => `d/n ${String(i).padStart(4, "0")} ü#%+&=.txt`);
const page = Array.from({ length: 1000 }, (_, i) => `e/${String(i).padStart(4, "0")}.txt`);
await hub.uploadFiles({
	...at, repo: paged, useXet: false, commitTitle: "many",
	files: [...many, ...page].map((path) => ({ path, content: new Blob([path]) })),
});
const listed = async (options) => (await all(hub.listFiles({ ...at, repo: paged, ...options }))).map((f) => f.path);
assert.deepEqual(await listed({}), [".gitattributes", "d", "e"]);
assert.deepEqual((await listed({ recursive: true })).sort(), [".gitattributes", "d", "e", ...many, ...page].sort());
assert.deepEqual(await listed({ path: "d" }), many);
assert.deepEqual(await listed({ path: "e" }), page);
assert.deepEqual(await listed({ path: "d", recursive: true, expand: true }), many);
assert.equal(await text(await hub.downloadFile({ ...at, repo: paged, path: page[999] })), page[999]);
const history = (await all(hub.listCommits({ ...at, repo: paged, revision: "long" }))).map((c) => c.title);
assert.deepEqual(history, Array.from({ length: 1100 }, (_, i) => `commit ${1100 - i}`));
assert.equal(await hub.countCommits({ ...at, repo: paged, revision: "long" }), 1100);
const names = async (options) => (await all(hub.listModels({ ...at, ...options }))).map((m) => m.name);
const small = (url, init) => fetch(String(url).replace("limit=500", "limit=1"), init); // pages of one repo
assert.deepEqual(await names({ fetch: small }), await names({}));
assert.equal((await names({ fetch: small })).length, 2);
await hub.deleteRepo({ ...at, repo: paged });

const pr = await hub.commit({
	...at, repo, useXet: false, title: "a pull request", isPullRequest: true,
	operations: [{ operation: "addOrUpdate", path: "pr.txt", content: new Blob(["pr"]) }],
});
assert.match(pr.pullRequestUrl, /discussions\/1$/);
assert.equal(await text(await hub.downloadFile({ ...at, repo, path: "pr.txt", revision: "refs/pr/1" })), "pr");
assert.equal((await all(hub.listFiles({ ...at, repo, revision: "refs/pr/1" }))).some((f) => f.path === "pr.txt"), true);

const head = (await all(hub.listCommits({ ...at, repo })))[0].oid;
await hub.deleteFile({ ...at, repo, path: "first.txt" });
await assert.rejects(
	hub.commit({ ...at, repo, useXet: false, title: "stale", parentCommit: head, operations: [{ operation: "addOrUpdate", path: "x", content: new Blob(["x"]) }] }),
	(e) => e.statusCode === 412);
await hub.deleteFiles({ ...at, repo, paths: ["a/b/small.txt"] });
assert.ok(!(await hub.fileExists({ ...at, repo, path: "a/b/small.txt" })));

const folder = await hub.snapshotDownload({ ...at, repo, cacheDir: join(process.env.WORK, "js-cache") });
assert.deepEqual(new Uint8Array(readFileSync(join(folder, "a/large.bin"))), large);

const secret = { type: "dataset", name: "alice/js-secret" };
await hub.createRepo({ ...at, repo: secret, private: true });
await hub.checkRepoAccess({ ...at, repo: secret });
for (const name of [secret, { type: "dataset", name: "alice/js-absent" }]) {
	await assert.rejects(hub.checkRepoAccess({ ...bob, repo: name }), (e) => e.statusCode === 404 || /not found/i.test(e.message));
	assert.equal(await hub.repoExists({ ...bob, repo: name }), false);
}
await assert.rejects(hub.uploadFile({ ...bob, repo, useXet: false, file: { path: "x", content: new Blob(["x"]) } }), (e) => e.statusCode === 403);
for (const name of [repo, secret]) await hub.deleteRepo({ ...at, repo: name });
assert.equal(await hub.repoExists({ ...at, repo }), false);
