"""Walks through huggingface_hub's API against the hub that HF_ENDPOINT names."""
import io
import os
import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, HfFileSystem, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError)
from huggingface_hub.utils import paginate

work = Path(os.environ["WORK"]) / os.environ["NAME"]
endpoint = os.environ["HF_ENDPOINT"]
api, bob, nobody = HfApi(), HfApi(token=os.environ["BOB"]), HfApi(token=False)
repo = "alice/" + os.environ["NAME"]


def raises(kind, call, status=None):
    try:
        call()
    except kind as e:
        if status and e.response.status_code != status:
            sys.exit(f"{e.response.status_code} instead of {status}: {e}")
        return str(e)
    sys.exit(f"no {kind.__name__} from line {sys._getframe(1).f_lineno}")


me = api.whoami()
assert me["name"] == "alice" and [o["name"] for o in me["orgs"]] == ["acme"], me
assert me["auth"]["accessToken"]["role"] == "write"
raises(HfHubHTTPError, lambda: HfApi(token="hf_wrong").whoami(), 401)

# Repos.
url = api.create_repo(repo)
assert url.repo_id == repo, url
assert api.create_repo(repo, exist_ok=True).repo_id == repo
raises(HfHubHTTPError, lambda: api.create_repo(repo), 409)
raises(HfHubHTTPError, lambda: bob.create_repo("alice/x"), 403)
assert api.repo_exists(repo) and not api.repo_exists("alice/absent")

# A folder, large and small files.
folder = work / "folder"
(folder / "sub" / "deep").mkdir(parents=True)
(folder / "README.md").write_text("---\nlicense: mit\ntags: [a-tag]\npipeline_tag: text-generation\n---\n# Hello\n")
(folder / "model.bin").write_bytes(os.urandom(200_000))
(folder / "sub" / "text.txt").write_text("text " * 100)
(folder / "sub" / "deep" / "empty").write_bytes(b"")
for i in range(300):
    (folder / f"many-{i:03}.txt").write_text(f"file {i}")
first = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="a folder", commit_description="with words")
again = api.upload_folder(repo_id=repo, folder_path=folder)
assert first.oid == again.oid or len(api.list_repo_commits(repo)) == len(api.list_repo_commits(repo, revision=first.oid)), "unchanged files made a commit"
if hasattr(api, "upload_large_folder"):  # gone in 2.x, where upload_folder does its work
    large = api.create_repo(repo + "-large").repo_id
    api.upload_large_folder(repo_id=large, repo_type="model", folder_path=folder, print_report=False)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts} <= set(api.list_repo_files(large))
    api.delete_repo(large)
got = snapshot_download(repo)
for path in folder.rglob("*"):
    if path.is_file() and ".cache" not in path.parts:
        assert (Path(got) / path.relative_to(folder)).read_bytes() == path.read_bytes(), path

# Listing.
files = set(api.list_repo_files(repo))
assert {"README.md", "model.bin", "sub/text.txt", "sub/deep/empty", "many-299.txt", ".gitattributes"} <= files and len(files) == 305, len(files)
top = {e.path: e for e in api.list_repo_tree(repo)}
assert top["model.bin"].lfs.size == 200_000 and top["model.bin"].size == 200_000 and "sub" in top
deep = {e.path for e in api.list_repo_tree(repo, "sub", recursive=True)}
assert deep == {"sub/deep", "sub/deep/empty", "sub/text.txt"}, deep
expanded = {e.path: e for e in api.list_repo_tree(repo, expand=True)}
assert len(expanded) == len(top) and expanded["README.md"].last_commit.title == "a folder" or len(api.list_repo_commits(repo)) > 2
infos = api.get_paths_info(repo, ["README.md", "sub", "absent"], expand=True)
assert [i.path for i in infos] == ["README.md", "sub"], infos
raises(EntryNotFoundError, lambda: list(api.list_repo_tree(repo, "absent")))
info = api.model_info(repo, files_metadata=True)
assert info.card_data.license == "mit" and "a-tag" in info.tags and info.pipeline_tag == "text-generation", info.tags
assert {s.rfilename: s for s in info.siblings}["model.bin"].lfs.sha256
assert api.model_info(repo, expand=["likes"]).likes == 0
assert repo in [m.id for m in api.list_models(author="alice", search=os.environ["NAME"], filter="a-tag")]
assert repo not in [m.id for m in api.list_models(filter="other")]

# Listings of more than one page: 1,200 files with odd names in one folder, exactly
# one page of them in another, more than 1,000 commits (of judges/hf.sh), repos.
paged = repo + "-paged"
d = {f"d/n {i:04} ü#%+&=.txt" for i in range(1200)}
e = {f"e/{i:04}/x" for i in range(1000)}
api.create_commit(paged, operations=[CommitOperationAdd(p, p.encode()) for p in sorted(d | e)], commit_message="many")
folders = {"d", "e"} | {p[:-2] for p in e}
for where, recursive, want in (
        (None, False, {".gitattributes", "d", "e"}), (None, True, {".gitattributes"} | d | e | folders),
        ("d", False, d), ("d", True, d), ("e", False, {p[:-2] for p in e}), ("e", True, e | {p[:-2] for p in e})):
    got = [i.path for i in api.list_repo_tree(paged, where, recursive=recursive)]
    assert len(got) == len(set(got)) and set(got) == want, (where, recursive, len(got), len(want))
got = [i for i in api.list_repo_tree(paged, "d", expand=True)]
assert {i.path for i in got} == d and len(got) == len(d) and {i.last_commit.title for i in got} == {"many"}
assert sorted(api.list_repo_files(paged)) == sorted(d | e | {".gitattributes"})
assert len(api.model_info(paged, files_metadata=True).siblings) == 2201
for at in ("d/n 0999 ü#%+&=.txt", "d/n 1000 ü#%+&=.txt"):
    assert Path(api.hf_hub_download(paged, at, cache_dir=work / "c5")).read_text() == at
titles = [c.title for c in api.list_repo_commits(paged, revision="long")]
assert titles == [f"commit {i}" for i in range(1100, 0, -1)], len(titles)
here = [m.id for m in api.list_models()]
got = [m["id"] for m in paginate(f"{endpoint}/api/models", params={"limit": 1}, headers=api._build_hf_headers())]
assert got == here and {repo, paged} <= set(got), (got, here)
api.delete_repo(paged)

# Single operations.
head = api.model_info(repo).sha
api.create_commit(repo, operations=[
    CommitOperationAdd("renamed.bin", io.BytesIO(b"\0" * 5000)), CommitOperationCopy("model.bin", "copy.bin"),
    CommitOperationDelete("many-000.txt"), CommitOperationDelete("sub/deep/")], commit_message="several", parent_commit=head)
raises(HfHubHTTPError, lambda: api.create_commit(repo, operations=[CommitOperationAdd("x", b"x")], commit_message="stale", parent_commit=head), 412)
assert api.file_exists(repo, "copy.bin") and not api.file_exists(repo, "sub/deep/empty")
raises(EntryNotFoundError, lambda: api.delete_file("absent", repo))
raises(EntryNotFoundError, lambda: api.hf_hub_download(repo, "absent"))
raises(RevisionNotFoundError, lambda: api.hf_hub_download(repo, "README.md", revision="absent"))
assert Path(api.hf_hub_download(repo, "many-000.txt", revision=head[:9])).read_text() == "file 0"
meta = api.get_hf_file_metadata(url=f"{endpoint}/{repo}/resolve/main/model.bin")
assert meta.size == 200_000 and len(meta.etag) == 64 and meta.commit_hash == api.model_info(repo).sha
raises(HfHubHTTPError, lambda: api.create_commit(repo, operations=[CommitOperationAdd("a", b"1"), CommitOperationAdd("a/b", b"2")], commit_message="clash"))

# Branches, tags, history.
api.create_branch(repo, branch="feature/one")
raises(HfHubHTTPError, lambda: api.create_branch(repo, branch="feature/one"), 409)
api.upload_file(path_or_fileobj=b"on a branch", path_in_repo="b.txt", repo_id=repo, revision="feature/one")
assert not api.file_exists(repo, "b.txt") and api.file_exists(repo, "b.txt", revision="feature/one")
api.create_tag(repo, tag="v1", tag_message="words", revision=head)
raises(HfHubHTTPError, lambda: api.create_tag(repo, tag="v1"), 409)
refs = api.list_repo_refs(repo, include_pull_requests=True)
assert {b.name for b in refs.branches} == {"main", "feature/one"} and refs.tags[0].target_commit == head
api.delete_tag(repo, tag="v1")
raises(RevisionNotFoundError, lambda: api.delete_tag(repo, tag="v1"))
raises(HfHubHTTPError, lambda: api.delete_branch(repo, branch="main"), 403)
api.delete_branch(repo, branch="feature/one")
raises(RevisionNotFoundError, lambda: api.delete_branch(repo, branch="feature/one"))
commits = api.list_repo_commits(repo, formatted=True)
assert commits[0].title == "several" and commits[-1].title == "initial commit", commits

# Pull requests and discussions.
pr = api.create_commit(repo, operations=[CommitOperationAdd("pr.txt", b"from a PR")], commit_message="propose", create_pr=True)
num = int(pr.pr_url.rsplit("/", 1)[1])
assert pr.pr_revision == f"refs/pr/{num}" and api.file_exists(repo, "pr.txt", revision=f"refs/pr/{num}")
details = api.get_discussion_details(repo, num)
assert details.is_pull_request and "from a PR" in details.diff and details.conflicting_files == [], details
bob_pr = bob.upload_file(path_or_fileobj=b"bob's", path_in_repo="bob.txt", repo_id=repo, create_pr=True)
raises(HfHubHTTPError, lambda: bob.merge_pull_request(repo, num), 403)
raises(HfHubHTTPError, lambda: bob.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo), 403)
api.comment_discussion(repo, num, "good")
api.rename_discussion(repo, num, "a new title")
api.merge_pull_request(repo, num)
assert api.file_exists(repo, "pr.txt") and api.get_discussion_details(repo, num).status == "merged"
talk = api.create_discussion(repo, title="a question", description="why?")
edited = api.comment_discussion(repo, talk.num, "first")
api.edit_discussion_comment(repo, talk.num, edited.id, "second")
api.hide_discussion_comment(repo, talk.num, edited.id)
api.change_discussion_status(repo, talk.num, "closed", comment="done")
assert {d.num for d in api.get_repo_discussions(repo)} == {num, talk.num, int(bob_pr.pr_url.rsplit("/", 1)[1]) if hasattr(bob_pr, "pr_url") else num + 1}
draft = api.create_pull_request(repo, title="a draft")
api.upload_file(path_or_fileobj=b"d", path_in_repo="d.txt", repo_id=repo, revision=f"refs/pr/{draft.num}")
api.change_discussion_status(repo, draft.num, "open")
api.merge_pull_request(repo, draft.num)
assert api.file_exists(repo, "d.txt")
api.super_squash_history(repo)
assert len(api.list_repo_commits(repo)) == 1 and api.file_exists(repo, "d.txt")

# Likes, large files.
if hasattr(api, "list_lfs_files"):
    large = {f.filename: f for f in api.list_lfs_files(repo)}
    assert "renamed.bin" in large and {f.size for f in large.values()} == {200_000, 5000}, large
bob.unlike(repo)
assert list(api.list_repo_likers(repo)) == []

proposal = work / "proposal"
proposal.mkdir()
(proposal / "large.bin").write_bytes(os.urandom(50_000))
(proposal / "small.txt").write_text("from bob")
if hasattr(api, "set_space_volumes"):  # since 2.x it opens the pull request first and adds to it
    proposed = bob.upload_folder(repo_id=repo, folder_path=proposal, create_pr=True)
    rev = "refs/pr/" + proposed.pr_url.rsplit("/", 1)[1]
    assert Path(api.hf_hub_download(repo, "large.bin", revision=rev)).read_bytes() == (proposal / "large.bin").read_bytes()

# Private and gated repos.
api.update_repo_settings(repo, private=True)
for who, status in ((nobody, 401), (bob, 404)):
    raises(RepositoryNotFoundError, lambda: who.model_info(repo), status)
    raises(RepositoryNotFoundError, lambda: who.hf_hub_download(repo, "README.md", cache_dir=work / "c0"))
assert repo not in [m.id for m in bob.list_models()] and repo in [m.id for m in api.list_models()]
api.update_repo_settings(repo, private=False, gated="manual")
raises(GatedRepoError, lambda: bob.auth_check(repo), 403)
raises(GatedRepoError, lambda: nobody.hf_hub_download(repo, "README.md", cache_dir=work / "c1"), 401)
assert bob.model_info(repo).gated == "manual"
api.grant_access(repo, "bob")
bob.auth_check(repo)
bob.hf_hub_download(repo, "README.md", cache_dir=work / "c2")
assert [r.username for r in api.list_accepted_access_requests(repo)] == ["bob"]
api.reject_access_request(repo, "bob", rejection_reason=None)
raises(GatedRepoError, lambda: bob.auth_check(repo), 403)
api.update_repo_settings(repo, gated=False)

# Collections.
hidden = repo + "-hidden"
api.create_repo(hidden, private=True)
made = api.create_collection(f"Models of {repo}", description="a few", private=True)
assert made.slug.startswith("alice/models-of-") and made.private and made.items == [], made
assert api.create_collection(f"Models of {repo}", exists_ok=True).slug == made.slug
raises(HfHubHTTPError, lambda: api.create_collection(f"Models of {repo}"), 409)
for who in (nobody, bob):
    raises(HfHubHTTPError, lambda: who.get_collection(made.slug), 404)
    assert made.slug not in [c.slug for c in who.list_collections()]
changed = api.update_collection_metadata(made.slug, title="Shown " + repo, description="more", private=False, theme="green")
assert (changed.title, changed.description, changed.theme, changed.private) == ("Shown " + repo, "more", "green", False), changed
api.add_collection_item(made.slug, item_id=hidden, item_type="model")
full = api.add_collection_item(changed.slug, item_id=repo, item_type="model", note="the first")
assert [(i.item_id, i.item_type, i.note) for i in full.items] == [(hidden, "model", None), (repo, "model", "the first")], full
raises(HfHubHTTPError, lambda: api.add_collection_item(made.slug, item_id=repo, item_type="model"), 409)
api.add_collection_item(made.slug, item_id=repo, item_type="model", exists_ok=True)
raises(HfHubHTTPError, lambda: api.add_collection_item(made.slug, item_id="alice/absent", item_type="model"), 404)
raises(HfHubHTTPError, lambda: bob.add_collection_item(made.slug, item_id=repo, item_type="model"), 403)
assert [i.item_id for i in nobody.get_collection(made.slug).items] == [repo]
api.update_collection_item(made.slug, full.items[1].item_object_id, note="the last", position=0)
assert [(i.item_id, i.note) for i in api.get_collection(made.slug).items] == [(repo, "the last"), (hidden, None)]
assert made.slug.split("-")[-1] in "".join(c.slug for c in nobody.list_collections(owner="alice", item=f"models/{repo}", sort="lastModified", limit=5))
assert list(bob.list_collections(item=f"models/{hidden}")) == [] and len(list(api.list_collections(item=f"models/{hidden}"))) == 1
api.delete_collection_item(made.slug, full.items[0].item_object_id)
raises(HfHubHTTPError, lambda: api.delete_collection_item(made.slug, full.items[0].item_object_id), 404)
api.delete_collection_item(made.slug, full.items[0].item_object_id, missing_ok=True)
api.delete_repo(hidden)
raises(HfHubHTTPError, lambda: bob.delete_collection(made.slug), 403)
api.delete_collection(made.slug)
raises(HfHubHTTPError, lambda: api.delete_collection(made.slug), 404)
api.delete_collection(made.slug, missing_ok=True)

# Moving, datasets, Spaces, the file system.
api.move_repo(repo, repo + "-moved")
assert api.model_info(repo).id == repo + "-moved"
assert Path(api.hf_hub_download(repo, "d.txt", cache_dir=work / "c3")).read_bytes() == b"d"
api.move_repo(repo + "-moved", repo)
data = repo + "-data"
api.create_repo(data, repo_type="dataset", private=True)
api.upload_file(path_or_fileobj=b"a,b\n1,2\n", path_in_repo="t.csv", repo_id=data, repo_type="dataset")
fs = HfFileSystem(endpoint=endpoint, token=os.environ["HF_TOKEN"])
assert fs.read_text(f"datasets/{data}/t.csv") == "a,b\n1,2\n"
with fs.open(f"datasets/{data}/dir/u.txt", "w") as f:
    f.write("through a file system")
assert fs.glob(f"datasets/{data}/**/*.txt") == [f"datasets/{data}/dir/u.txt"]
fs.rm(f"datasets/{data}/dir", recursive=True)
assert api.dataset_info(data).private
space = repo + "-space"
api.create_repo(space, repo_type="space", space_sdk="docker")
api.add_space_secret(space, "KEY", "value")
api.add_space_variable(space, "VAR", "value")
assert api.get_space_variables(space)["VAR"].value == "value"
api.delete_space_variable(space, "VAR")
api.delete_space_secret(space, "KEY")
api.request_space_hardware(space, "cpu-basic")
assert api.get_space_runtime(space).requested_hardware == "cpu-basic"
if hasattr(api, "request_space_storage"):  # gone in 2.x
    api.request_space_storage(space, "small")
    assert api.get_space_runtime(space).storage == "small"
    api.delete_space_storage(space)
if hasattr(api, "set_space_volumes"):
    from huggingface_hub import Volume
    api.set_space_volumes(space, volumes=[Volume(type="model", source=repo, mount_path="/m"), Volume(type="dataset", source=data, mount_path="/d")])
    assert [(v.source, v.mount_path) for v in api.get_space_runtime(space).volumes] == [(repo, "/m"), (data, "/d")]
    assert [v.source for v in nobody.get_space_runtime(space).volumes] == [repo]
    raises(RepositoryNotFoundError, lambda: api.set_space_volumes(space, volumes=[Volume(type="model", source="alice/absent", mount_path="/m")]), 404)
    api.delete_space_volumes(space)
    raises(HfHubHTTPError, lambda: api.delete_space_volumes(space), 400)
assert api.pause_space(space).stage == "PAUSED" and api.restart_space(space).stage == "STOPPED"
api.duplicate_repo(repo, repo + "-twin") if hasattr(api, "duplicate_repo") else api.create_repo(repo + "-twin")
if hasattr(api, "duplicate_repo"):
    twin = api.hf_hub_download(repo + "-twin", "model.bin", cache_dir=work / "c4")
    assert Path(twin).read_bytes() == (folder / "model.bin").read_bytes()
for kind, name in (("model", repo), ("dataset", data), ("space", space), ("model", repo + "-twin")):
    api.delete_repo(name, repo_type=kind)
    assert not api.repo_exists(name, repo_type=kind)
