// Uploads a folder: upload.mjs REPO FOLDER [lfs]. Creates the repo first.
import { createRepo, uploadFiles } from "@huggingface/hub";
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [repo, folder, way] = process.argv.slice(2);
const hub = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN, repo };
await createRepo(hub);
await uploadFiles({
  ...hub,
  files: readdirSync(folder).map((name) => pathToFileURL(resolve(folder, name))),
  useXet: way !== "lfs",
});
