// Follows a trace with the JavaScript client, without a network: prints what it asks for, and the steps that it gets.

import { Stoa } from "../../clients/javascript/src/index.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const answers = JSON.parse(Buffer.concat(chunks).toString());

const fetch = async (url, init) => {
  const request = new Request(url, init);
  console.log(JSON.stringify({ url, last: request.headers.get("Last-Event-ID") }));
  return new Response(answers.shift(), { headers: { "Content-Type": "text/event-stream" } });
};
const stoa = new Stoa({ url: "http://stoa.test", key: "stoa_acc_x", fetch, retries: { firstSeconds: 0 } });
for await (const step of await stoa.traces.tail("t-1")) console.log(JSON.stringify(step));
