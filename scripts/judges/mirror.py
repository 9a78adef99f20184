"""Reads alice/open through the mirror that HF_ENDPOINT names: mirror.py here|gone."""
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

gone = sys.argv[1] == "gone"
work, endpoint = Path(os.environ["WORK"]), os.environ["HF_ENDPOINT"]
nobody, alice, repo = HfApi(token=False), HfApi(token=os.environ["TOKEN"]), "alice/open"


def raises(kind, call):
    try:
        call()
    except kind:
        return
    sys.exit(f"no {kind.__name__} from line {sys._getframe(1).f_lineno}")


info = nobody.model_info(repo)
pinned = nobody.model_info(repo, revision=info.sha)
tree = sorted((e.path, getattr(e, "size", None)) for e in nobody.list_repo_tree(repo, recursive=True))
paths = nobody.get_paths_info(repo, ["README.md", "mixed.bin", "absent"])
refs = nobody.list_repo_refs(repo)
commits = nobody.list_repo_commits(repo)
listed = [m.id for m in nobody.list_models(author="alice")]
assert listed == [repo], listed
raw = urllib.request.urlopen(f"{endpoint}/{repo}/raw/main/mixed.bin").read()
assert pinned.sha == info.sha == refs.branches[0].target_commit == commits[0].commit_id
assert [p.path for p in paths] == ["README.md", "mixed.bin"] and paths[1].lfs.sha256 in raw.decode(), raw
assert dict(tree)["mixed.bin"] == paths[1].size == (work / "files" / "mixed.bin").stat().st_size
seen = json.dumps([info.sha, tree, [c.commit_id for c in commits], raw.decode(), [(p.path, p.size) for p in paths]])
note = work / "seen.json"
if not gone:
    raises(EntryNotFoundError, lambda: nobody.hf_hub_download(repo, "absent", cache_dir=work / "m0"))
    raises(RepositoryNotFoundError, lambda: nobody.model_info("alice/closed"))
    assert alice.model_info("alice/closed").private
    note.write_text(seen)
else:
    assert note.read_text() == seen
    raises(HfHubHTTPError, lambda: alice.model_info("alice/closed"))
