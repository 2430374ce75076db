// node run_node.js MODEL CONTRACT.json: replay the golden sample of a file for other programs, as a program without metadata does.
const fs = require("fs");
const ort = require("onnxruntime-node");

async function main(model, sidecar) {
  const contract = JSON.parse(fs.readFileSync(sidecar, "utf8"));
  const [, height, width, channels] = contract.golden.shape;
  const floats = (text) => new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
  const noisy = floats(contract.golden.noisy);
  const expected = floats(contract.golden.denoised);
  const at = (y, x, c) => (y * width + x) * channels + c; // the sample is N x H x W x C
  const planes = new Float32Array(noisy.length);
  for (let c = 0, i = 0; c < channels; c++)
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, i++) planes[i] = noisy[at(y, x, c)];
  const feeds = { noisy: new ort.Tensor("float32", planes, [1, channels, height, width]) };
  if (contract.sigma) feeds.sigma = new ort.Tensor("float32", [contract.golden.sigma], [1, 1]);
  const session = await ort.InferenceSession.create(model);
  const { denoised } = await session.run(feeds);
  let largest = 0;
  for (let c = 0, i = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++) largest = Math.max(largest, Math.abs(denoised.data[i] - expected[at(y, x, c)]));
  console.log(JSON.stringify({ largest, allowed: contract.golden.max_abs_error, dims: denoised.dims, layout: contract.layout }));
}

main(...process.argv.slice(2));
