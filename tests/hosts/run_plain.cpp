// run_plain MODEL IMAGE OUTPUT CHANNELS HEIGHT WIDTH [SIGMA]: float32 pixels, C x H x W, through a file of `--for plain`.
#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <onnxruntime_cxx_api.h>
#include <vector>

int main(int count, char** words) {
  const int64_t channels = std::atoll(words[4]), height = std::atoll(words[5]), width = std::atoll(words[6]);
  std::vector<float> pixels(static_cast<size_t>(channels * height * width));
  std::ifstream(words[2], std::ios::binary).read(reinterpret_cast<char*>(pixels.data()), pixels.size() * sizeof(float));

  Ort::Env env{ORT_LOGGING_LEVEL_ERROR};
  Ort::Session session{env, words[1], Ort::SessionOptions{}};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<int64_t, 4> shape{1, channels, height, width};
  const std::array<int64_t, 2> one{1, 1};
  float sigma = count > 7 ? std::strtof(words[7], nullptr) : 0;
  std::vector<Ort::Value> inputs;
  inputs.push_back(Ort::Value::CreateTensor<float>(memory, pixels.data(), pixels.size(), shape.data(), shape.size()));
  inputs.push_back(Ort::Value::CreateTensor<float>(memory, &sigma, 1, one.data(), one.size()));
  const char *names[] = {"noisy", "sigma"}, *output = "denoised";
  auto outputs = session.Run(Ort::RunOptions{}, names, inputs.data(), count > 7 ? 2 : 1, &output, 1);
  std::ofstream(words[3], std::ios::binary)
      .write(reinterpret_cast<const char*>(outputs[0].GetTensorData<float>()), pixels.size() * sizeof(float));
  std::cout << OrtGetApiBase()->GetVersionString() << "\n";
}
