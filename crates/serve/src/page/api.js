// Requests to the server that gave the page.

export const key = { value: "" };

/** A refusal, with the server's own words. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const own = { "content-type": "application/json" };
  if (key.value) own.authorization = `Bearer ${key.value}`;
  return own;
}

async function checked(response) {
  if (response.ok) return response;
  let message = `The server answered with status ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // Not the server's own words, then.
  }
  throw new Refusal(response.status, message);
}

/** The models, with the methods of each. */
export async function models() {
  const response = await checked(await fetch("/v1/models", { headers: headers() }));
  return (await response.json()).data;
}

/** What methods keep of a picture. */
export async function select(body, signal) {
  const request = { method: "POST", headers: headers(), body: JSON.stringify(body), signal };
  const response = await checked(await fetch("/v1/diffprune/select", request));
  return response.json();
}

/** Continues a conversation; `onText` gets the answer so far. Gives its counts and warnings. */
export async function ask(body, onText, signal) {
  const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
  const request = { method: "POST", headers: headers(), body: JSON.stringify(streamed), signal };
  const response = await checked(await fetch("/v1/chat/completions", request));
  const outcome = { text: "", usage: null, warnings: [] };
  for await (const piece of events(response.body)) {
    if (piece.error) throw new Refusal(500, piece.error.message);
    const text = piece.choices?.[0]?.delta?.content;
    if (text) onText((outcome.text += text));
    if (piece.usage) outcome.usage = piece.usage;
    if (piece.warnings) outcome.warnings = piece.warnings;
  }
  return outcome;
}

/** The server-sent events of a body, up to [DONE]. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal(0, "The answer broke off.");
    held += value;
    let end;
    while ((end = held.indexOf("\n\n")) >= 0) {
      const data = held.slice(0, end).replace(/^data: /, "");
      held = held.slice(end + 2);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}
