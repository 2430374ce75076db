import { denoise, openModel } from "./denoise.js";

const MAX_PIXELS = 8e6;
const names = ["model", "image", "about", "status", "view", "before", "after", "slider", "save"];
const page = Object.fromEntries(names.map((id) => [id, document.getElementById(id)]));
let model = null, image = null, latest = 0;

const say = (text, kind = "") => { page.status.textContent = text; page.status.className = kind; };

page.model.addEventListener("change", () => attempt(async () => {
  model = null;
  if (!page.model.files.length) return;
  say("Opening the model …");
  model = await openModel(new Uint8Array(await page.model.files[0].arrayBuffer()));
  const { name, precision, channels, noise } = model.contract;
  page.about.textContent = `${name}: ${channels === 1 ? "gray" : "color"}, ${precision}, trained on ${noise}`;
}));

page.image.addEventListener("change", () => attempt(async () => {
  image = null;
  if (!page.image.files.length) return;
  const bitmap = await createImageBitmap(page.image.files[0], { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  if (bitmap.width * bitmap.height > MAX_PIXELS) throw new Error(`This page takes images of at most ${MAX_PIXELS / 1e6} megapixels.`);
  for (const canvas of [page.before, page.after]) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = page.before.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  image = context.getImageData(0, 0, bitmap.width, bitmap.height);
}));

page.slider.addEventListener("input", () => page.view.style.setProperty("--x", page.slider.value + "%"));

page.save.addEventListener("click", () => page.after.toBlob((blob) => {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "denoised.png" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}));

async function attempt(change) {
  page.view.hidden = page.save.hidden = true;
  latest++; // what is under way is out of date
  try {
    await change();
    await update();
  } catch (error) {
    say(error.message, "error");
  }
}

async function update() {
  const turn = ++latest;
  if (!model || !image) return say(model ? "Now choose an image." : "Choose a model and an image.");
  say("Denoising …");
  await new Promise((done) => setTimeout(done, 30)); // let the words appear: the engine holds the page while it works
  if (turn !== latest) return;
  const start = performance.now();
  const clean = await denoise(model, image);
  if (turn !== latest) return; // another file was chosen meanwhile
  page.after.getContext("2d").putImageData(clean, 0, 0);
  page.view.hidden = page.save.hidden = false;
  say(`${image.width} × ${image.height} pixels in ${Math.round(performance.now() - start)} ms`, "done");
}

say("Choose a model and an image.");
