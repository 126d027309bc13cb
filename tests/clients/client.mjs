// Node's fetch, which sends a text as text/plain, and node:http, which sends chunks without a type.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";

const { FACE_URL: url, FACE_API_KEY: apiKey } = process.env;
const picture = readFileSync(process.argv[2]);
const image = picture.toString("base64");
const key = { "X-API-Key": apiKey };
const known = { Apid: process.env.FACE_APID, Kvalue: process.env.FACE_KVALUE };

async function call(name, path, body, headers = {}) {
  const response = await fetch(url + path, { method: "POST", body, headers });
  console.log(name, response.status, await response.text());
}

function piecemeal(name, method, path, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url + path, { method, headers }, async (response) => {
      let answer = "";
      for await (const chunk of response) answer += chunk;
      console.log(name, response.statusCode, answer);
      resolve();
    });
    request.on("error", reject);
    const half = body.length >> 1;
    request.write(body.slice(0, half));
    request.end(body.slice(half));
  });
}

await call("a", "/api/detection", new URLSearchParams({ ...known, Fimg: image }));
// Without a length, node:http sends the body of a GET unannounced, as if a second request began.
const list = new URLSearchParams(known).toString();
await piecemeal("a-get", "GET", "/api/face", list, { "Content-Length": list.length });

await call("b", "/api/faces", JSON.stringify({ image }), key);

const form = new FormData();
form.set("api_id", process.env.FACE_API_ID);
form.set("api_secret", process.env.FACE_API_SECRET);
for (const name of ["image_one_file", "image_two_file"]) {
  form.set(name, new Blob([picture]), "a.jpg");
}
await call("c", "/identity/compare_faces_in_two_images", form);

const search = new FormData();
search.set("img", image);
await call("d", "/v1/searchface", search, key);

const request = {
  appId: process.env.FACE_APP_ID, data: { image }, encType: "plain", signType: "SHA256",
  timestamp: Math.floor(Date.now() / 1000), version: "1",
};
const pairs = Object.entries(request).map(
  ([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`,
);
const signed = [...pairs, `key=${process.env.FACE_APP_SECRET}`].join("&");
const digest = createHash("sha256").update(signed).digest("hex");
await piecemeal("e", "POST", "/face2/locate", JSON.stringify({
  ...request, signData: Buffer.from(digest).toString("base64"),
}));
