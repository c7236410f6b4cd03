// The JavaScript client of Stoa, for browsers and Node.

export { Stoa } from "./client.js";
export * from "./errors.js";
export { Page } from "./resources.js";
export { Stream } from "./stream.js";
export { Tail } from "./tail.js";
export { VERSION } from "./version.js";
