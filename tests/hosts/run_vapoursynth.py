"""python run_vapoursynth.py PLUGIN MODEL IMAGE.npy OUTPUT.npy [SIGMA]: image (H, W, C) float32, plugin ort or ov."""

import sys

import numpy as np
import vapoursynth as vs

plugin, model, source, output, *sigma = sys.argv[1:]
image = np.load(source)
height, width, channels = image.shape
size = {"width": width, "height": height, "length": 1}


def fill(n, f):
    frame = f.copy()
    for plane in range(channels):
        np.asarray(frame[plane])[:] = image[..., plane]
    return frame


blank = vs.core.std.BlankClip(format=vs.RGBS if channels == 3 else vs.GRAYS, **size)
clips = [vs.core.std.ModifyFrame(blank, blank, fill)]
clips += [vs.core.std.BlankClip(format=vs.GRAYS, color=float(level), **size) for level in sigma]
frame = getattr(vs.core, plugin).Model(clips, model).get_frame(0)
np.save(output, np.stack([np.asarray(frame[plane]) for plane in range(frame.format.num_planes)], axis=-1))
print(vs.core.version_number(), getattr(vs.core, plugin).Version()["version"])
