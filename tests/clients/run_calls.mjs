// Makes calls with the JavaScript client, without a network: prints for each the request that it sends.

import { Stoa, StoaError } from "../../clients/javascript/src/index.js";

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);

for (const call of JSON.parse(Buffer.concat(chunks).toString())) {
  const seen = [];
  const fetch = async (url, init) => {
    const request = new Request(url, init);
    const body = Buffer.from(await request.arrayBuffer()).toString("base64");
    seen.push({ url, method: init.method, headers: Object.fromEntries(request.headers), body });
    return Response.json({ error: { code: "seen", message: "Seen." } }, { status: 418 });
  };
  const stoa = new Stoa({ url: "http://stoa.test/base", key: "stoa_acc_" + "x".repeat(64), fetch });
  const [resource, method] = call.call.split(".").map(camel);
  const file = { file: new Blob(["text"]), name: "a.txt" };
  let positional = call.positional ?? [];
  if (call.upload) positional = [call.id, call.positional[0] === "upload" ? file : [file]];
  try {
    const made = stoa[resource][method](...positional, ...(call.fields ? [call.fields] : []));
    if (made[Symbol.asyncIterator]) for await (const _ of made);
    else await made;
    throw new Error(`${call.call} took an answer that fits no call`);
  } catch (error) {
    if (!(error instanceof StoaError) || error.code !== "seen") throw error;
  }
  console.log(JSON.stringify(seen[0]));
}
