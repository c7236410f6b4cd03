// Sends a message, says "begun" at the first piece of the answer, and reads to the end.

import { Stoa } from "../../clients/javascript/src/index.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { url, key, conversation, message } = JSON.parse(Buffer.concat(chunks).toString());

const stoa = new Stoa({ url, key, retries: { secondsMax: 0.5 } });
const stream = await stoa.send(conversation, message);
const sequences = [];
let begun = false;
let recovered = 0;
for await (const event of stream) {
  sequences.push(event.sequence);
  if (event.type === "run.recovered") recovered += 1;
  if (event.type === "agent.response.delta" && !begun) {
    begun = true;
    console.log("begun");
  }
}
const { text, verified } = stream;
console.log(JSON.stringify({ sequences, recovered, text, verified, output: await stream.output() }));
