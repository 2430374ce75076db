// What a JavaScript program needs to use a model of 8-bit pixels: read its contract, feed it, take the result.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

/** Open a model file. Returns { session, contract }; throws an Error that says what is wrong with the file. */
export async function openModel(bytes) {
  const contract = readContract(bytes);
  if (contract.io_dtype !== "uint8") throw new Error("This model takes float pixels. Export it with dae-export --io uint8.");
  if (contract.height_px !== null) throw new Error("This model takes one size only; this page needs a model of free size.");
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  await replayGolden(session, contract);
  return { session, contract };
}

/** Check that this engine computes what the exporter computed: WebAssembly's relaxed products may cut off sums of 16 bits. */
async function replayGolden(session, { golden }) {
  const [input, expected] = [golden.noisy, golden.denoised].map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  const { denoised } = await session.run({ noisy: new ort.Tensor("uint8", input, golden.shape) });
  const errors = Array.from(denoised.data, (value, index) => Math.abs(value - expected[index]));
  denoised.dispose();
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  const largest = errors.reduce((most, error) => Math.max(most, error), 0);
  if (largest > golden.max_abs_error || mean > (golden.mean_abs_error ?? 0.255))
    throw new Error(`This browser computes something else than the model's exporter (largest error ${largest}, mean ${mean.toFixed(3)}).`);
}

/** Denoise an ImageData with a model from openModel. Returns a new ImageData; alpha is kept. */
export async function denoise({ session, contract }, image) {
  const { width, height, data } = image;
  const planes = contract.channels === 1 ? 3 : 1; // a gray model takes red, green and blue as a batch of three
  const align = contract.alignment_px;
  const paddedWidth = Math.ceil(width / align) * align, paddedHeight = Math.ceil(height / align) * align;
  const input = new Uint8Array(planes * paddedHeight * paddedWidth * contract.channels);
  let at = 0;
  for (let plane = 0; plane < planes; plane++)
    for (let y = 0; y < paddedHeight; y++)
      for (let x = 0; x < paddedWidth; x++)
        for (let channel = 0; channel < contract.channels; channel++)
          input[at++] = data[4 * (reflect(y, height) * width + reflect(x, width)) + plane + channel];
  const noisy = new ort.Tensor("uint8", input, [planes, paddedHeight, paddedWidth, contract.channels]);
  const { denoised } = await session.run({ noisy });
  const result = new ImageData(new Uint8ClampedArray(data), width, height);
  for (let color = 0; color < 3; color++) {
    const first = planes === 3 ? color * paddedHeight * paddedWidth : color;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        result.data[4 * (y * width + x) + color] = denoised.data[first + (y * paddedWidth + x) * contract.channels];
  }
  denoised.dispose();
  return result;
}

/** Find the contract in a model file: onnxruntime-web does not show a model's metadata. */
export function readContract(bytes) {
  const text = new TextDecoder("latin1").decode(bytes);
  const start = text.indexOf('{"format":"dae-model"');
  if (start < 0) throw new Error("This is no model file of dae-export.");
  let depth = 0, quoted = false;
  for (let end = start; end < text.length; end++) {
    const letter = text[end];
    if (quoted) {
      if (letter === "\\") end++;
      else if (letter === '"') quoted = false;
    } else if (letter === '"') quoted = true;
    else if (letter === "{") depth++;
    else if (letter === "}" && --depth === 0) return checked(JSON.parse(text.slice(start, end + 1)));
  }
  throw new Error("The model file is damaged.");
}

function checked(contract) {
  if (![1, 2, 3].includes(contract.version))
    throw new Error(`The model's contract has version ${contract.version}; this page reads versions 1 to 3.`);
  if (contract.sigma) throw new Error("This model is given the noise level; this page needs one that finds it by itself.");
  return contract;
}

/** The position from 0 to length - 1 that a position beyond the border mirrors. */
function reflect(position, length) {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const phase = position % period;
  return phase < length ? phase : period - phase;
}
