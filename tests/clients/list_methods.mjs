// Prints the methods of the JavaScript client's resources.

import { Stoa } from "../../clients/javascript/src/index.js";

const stoa = new Stoa({ url: "http://stoa.test", key: "stoa_acc_x" });
for (const [resource, object] of Object.entries(stoa)) {
  if (typeof object !== "object") continue;
  for (const method of Object.getOwnPropertyNames(Object.getPrototypeOf(object))) {
    if (method !== "constructor") console.log(`${resource}.${method}`);
  }
}
