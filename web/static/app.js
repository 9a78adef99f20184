// The page: reads the form, runs one request at a time, shows what comes back.

import { Text, drawLegend, drawTable } from "./routing.js";
import { Refused, post } from "./stream.js";
import { Tip } from "./tip.js";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const area = byId("text");
const answer = byId("answer-text");
const table = byId("table"); // absent for a model without a router

const text = new Text();
const tip = new Tip(byId("tip"), area, text);

// run is the request in progress: its controller, when it was sent, when its
// first and last token came, how many came, and whether the result is there.
let run = null;

// Numbers that are sent as written; an empty field is left out.
const numbers = [...form.querySelectorAll("input[type=number]")];

// fault shows what is wrong with a field, or clears it.
function fault(name, message = "") {
  const line = byId(`${name}-error`);
  if (!line) return false;
  line.textContent = message && `${message[0].toUpperCase()}${message.slice(1)}.`;
  form.elements[name].setAttribute("aria-invalid", String(message !== ""));
  if (message && form.elements[name].closest("details")) byId("settings").open = true;
  return true;
}

// request reads the form. It returns null, with the faults shown, if a number
// field holds no number that can be sent exactly.
function request() {
  const body = { prompt: form.elements.prompt.value };
  let good = true;
  for (const input of numbers) {
    const value = Number(input.value);
    if (input.validity.badInput || (input.step === "1" && input.value !== "" && !Number.isSafeInteger(value))) {
      fault(input.name, input.step === "1" ? "must be a whole number up to 9007199254740991" : "must be a number");
      good = false;
    } else if (input.value !== "") {
      body[input.name] = value;
    }
  }
  const stops = form.elements.stop.value.split("\n").filter(Boolean).map(unescape);
  if (stops.length) body.stop = stops;
  if (form.elements.domain.value) body.domain = form.elements.domain.value;
  return good ? body : null;
}

// unescape reads \n, \t and \\ in a stop string.
const unescape = (line) => line.replace(/\\([nt\\])/g, (_, c) => ({ n: "\n", t: "\t", "\\": "\\" })[c]);

// say shows the state of the run; a problem is shown as an error instead.
function say(state, problem = "") {
  byId("status").textContent = state;
  byId("error").textContent = problem;
  byId("error").hidden = !problem;
}

function setFigure(id, value) {
  const node = byId(id);
  if (node) node.textContent = value;
}

const milliseconds = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`);
const tokens = (n) => `${n} token${n === 1 ? "" : "s"}`;

// draw brings figures, legend and table up to date with the text.
function draw() {
  if (!run) return;
  run.drawing = false;
  if (run.first && !run.done) {
    setFigure("first-token", milliseconds(run.first - run.sent));
    setFigure("answer-tokens", tokens(run.count));
    if (run.count > 1) setFigure("speed", ((run.count - 1) / ((run.last - run.first) / 1000)).toFixed(1));
  }
  text.draw();
  drawRouting();
  tip.refresh();
  if (run.follow) area.scrollTop = area.scrollHeight;
}

function drawRouting() {
  if (!table) return;
  byId("routing").hidden = text.entries.length === 0;
  drawLegend(byId("legend"), text.entries);
  if (table.open) drawTable(byId("rows"), text.entries);
}

// drawSoon draws once before the next frame, however many tokens came.
function drawSoon() {
  if (run.drawing) return;
  run.drawing = true;
  requestAnimationFrame(draw);
}

const handlers = {
  routing(data) {
    text.routing(data);
    say("Prompt read, writing…");
    drawSoon();
  },
  token(data) {
    if (!run.first) say("Writing…");
    text.token(data);
    if (data.token >= 0) {
      run.last = performance.now();
      run.first ??= run.last;
      run.count++;
    }
    drawSoon();
  },
  // done shows the engine's own figures in place of those measured here.
  done(result) {
    text.take(result.chunks ?? []);
    run.done = true;
    setFigure("first-token", milliseconds(result.first_token_ms));
    setFigure("speed", result.tokens_per_second > 0 ? result.tokens_per_second.toFixed(1) : "–");
    setFigure("prompt-tokens", tokens(result.prompt_tokens));
    setFigure("answer-tokens", tokens(result.completion_tokens));
    setFigure("swaps", result.encoder_swaps);
    setFigure("seed-used", result.seed);
    const ends = { length: "Done: the token limit is reached.", stop: "Done: the model ended the text.", cancelled: "Stopped." };
    say(ends[result.finish_reason] ?? "Done.");
  },
};

// begin clears the last run and readies the page for the next.
function begin(body) {
  for (const name of ["prompt", "stop", "domain", ...numbers.map((n) => n.name)]) fault(name);
  for (const id of ["first-token", "speed", "prompt-tokens", "answer-tokens", "swaps", "seed-used"]) setFigure(id, "–");
  tip.hide();
  text.start(body.prompt);
  byId("empty").hidden = true;
  answer.setAttribute("aria-busy", "true");
  byId("generate-button").disabled = true;
  byId("stop-button").disabled = false;
  say("Waiting for the model…");
  run = { control: new AbortController(), sent: performance.now(), first: null, last: null, count: 0, drawing: false, done: false, follow: true };
  drawRouting();
}

function end() {
  draw();
  run = null;
  answer.setAttribute("aria-busy", "false");
  byId("generate-button").disabled = false;
  byId("stop-button").disabled = true;
}

// generate sends the form and shows the answer as it comes.
async function generate() {
  if (run) return;
  const body = request();
  if (!body) return;
  begin(body);
  try {
    await post("api/generate", body, handlers, run.control.signal);
  } catch (problem) {
    explain(problem);
  }
  end();
}

// explain shows why a run ended early.
function explain(problem) {
  if (problem.name === "AbortError") {
    say("Stopped.");
  } else if (problem instanceof Refused) {
    const rest = problem.faults.filter((f) => !fault(f.field, f.message)).map((f) => `${f.field}: ${f.message}`);
    const id = problem.id ? ` (request ${problem.id})` : "";
    say("", [problem.message, ...rest].join(" ") + (problem.faults.length ? "" : id));
    if (problem.faults.length) form.elements[problem.faults[0].field]?.focus();
  } else {
    say("", "The connection to the server was lost. Check that it is still running, then try again.");
  }
}

// summarise names the settings in force on the closed panel.
function summarise() {
  const f = form.elements;
  byId("settings-now").textContent = `temperature ${f.temperature.value || "0"}, top-p ${f.top_p.value || "off"}, ${f.max_tokens.value || "default"} tokens, ${f.seed.value ? `seed ${f.seed.value}` : "random seed"}`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) generate();
});
form.addEventListener("input", summarise);
form.addEventListener("click", (event) => {
  const example = event.target.closest("[data-prompt]");
  if (!example) return;
  form.elements.prompt.value = example.dataset.prompt;
  form.elements.prompt.focus();
});
byId("stop-button").addEventListener("click", () => {
  run?.control.abort();
  byId("generate-button").focus();
});
area.addEventListener("scroll", () => {
  if (run) run.follow = area.scrollHeight - area.scrollTop - area.clientHeight < 40;
});
table?.addEventListener("toggle", drawRouting);
summarise();
