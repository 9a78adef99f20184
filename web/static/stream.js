// Requests to the server and the events that answer them.

// Refused is an answer that is an error: a sentence, and the faulty fields.
export class Refused extends Error {
  constructor({ message, faults = [], request_id: id }) {
    super(message);
    this.faults = faults;
    this.id = id;
  }
}

// post sends body as JSON and calls handlers[event](data) for every event of the
// answer. It throws Refused for an error of the server, and what fetch throws if
// the connection fails or signal aborts it.
export async function post(url, body, handlers, signal) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) {
    const answer = await response.json().catch(() => null);
    throw new Refused(answer?.error ?? { message: `The server answered with status ${response.status}.` });
  }
  let ended = false;
  for await (const { event, data } of events(response.body)) {
    if (event === "error") throw new Refused(data.error);
    ended = event === "done";
    handlers[event](data);
  }
  if (!ended) throw new Error("the stream ended without a result");
}

// events yields the server-sent events of a byte stream.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      yield parse(buffer.slice(0, end));
      buffer = buffer.slice(end + 2);
    }
  }
}

// parse reads the lines of one event; the server writes one data line each.
function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return { event: fields.event, data: JSON.parse(fields.data) };
}
