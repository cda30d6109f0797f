// Uploads a file with tus-js-client: breaks it off in the middle, goes on, and says what the server then has.
import fs from 'node:fs';
import * as tus from 'tus-js-client';

const [endpoint, path] = process.argv.slice(2);
const content = fs.readFileSync(path);

function upload(uploadUrl, stopAt) {
  return new Promise((resolve, reject) => {
    const one = new tus.Upload(content, {
      endpoint,
      uploadUrl,
      chunkSize: 500_000,
      retryDelays: [0, 200],
      metadata: { filename: 'Täglich.wav' },
      onError: reject,
      onProgress: (sent) => {
        if (sent >= stopAt) one.abort().then(() => resolve(one.url));
      },
      onSuccess: () => resolve(one.url),
    });
    one.start();
  });
}

async function offset(url) {
  const reply = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } });
  return Number(reply.headers.get('upload-offset'));
}

const url = await upload(undefined, 1_200_000);
const stopped = await offset(url);
await upload(url, Infinity);
console.log(JSON.stringify({ url, stopped, whole: await offset(url) }));
