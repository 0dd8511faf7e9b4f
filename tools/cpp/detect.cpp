// Runs a .ptl file in the lite interpreter, the runtime that phones have, without Python.
//
//   detect model.ptl picture.ppm found.json [overlay.ppm]
//
// Everything about the model (channel order, sizes, names, outputs) is read from the file itself.

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/mobile/import.h>
#include <torch/csrc/jit/mobile/module.h>

#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "detections.h"
#include "image.h"
#include "json.h"
#include "masks.h"

namespace {

constexpr float kShownScore = 0.5f;
constexpr char kDescription[] = "description.json";
constexpr uint8_t kColours[6][3] = {{230, 60, 60},  {60, 180, 75},  {70, 120, 230},
                                    {240, 200, 40}, {200, 80, 220}, {60, 200, 200}};

at::Tensor prepare(const Image& image, const Json& description) {
  at::Tensor planes = to_tensor(image, description["input_order"].text);
  const double shortest = description["resize_short"].number();
  if (shortest <= 0 || description.is_true("resize_inside")) return planes;
  const double longest = description["resize_longest"].number();
  return resize(planes, shortest_edge_size(image.height, image.width, shortest, longest));
}

void draw(const std::string& path, Image image, const std::vector<Detection>& detections) {
  for (size_t i = 0; i < detections.size(); ++i) {
    const bool shown = detections[i].has_mask && detections[i].score >= kShownScore;
    if (shown) tint(image, detections[i].mask, kColours[i % 6]);
  }
  write_ppm(path, image);
}

void run(int count, char** arguments) {
  if (count < 4 || count > 5) {
    throw std::runtime_error("usage: detect model.ptl picture.ppm found.json [overlay.ppm]");
  }
  torch::jit::ExtraFilesMap extra = {{kDescription, ""}};
  torch::jit::mobile::Module model =
      torch::jit::_load_for_mobile(arguments[1], at::Device(at::kCPU), extra);
  if (extra[kDescription].empty()) {
    throw std::runtime_error("the file has no description: d2seg did not export it");
  }
  const Json description = JsonReader::read(extra[kDescription]);

  const Image image = read_ppm(arguments[2]);
  const c10::InferenceMode without_gradients;
  const c10::IValue returned = model.forward({prepare(image, description)});
  const float threshold = static_cast<float>(description["mask_threshold"].number());
  const std::vector<Detection> detections =
      read_detections(name_outputs(returned, description), image, threshold);

  std::ofstream out(arguments[3]);
  write_json(out, detections, description, image);
  if (!out.flush()) throw std::runtime_error("the detections cannot be written");
  if (count == 5) draw(arguments[4], image, detections);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run(count, arguments);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    std::cerr << "detect: " << message.substr(0, message.find('\n')) << "\n";
    return 1;
  }
  return 0;
}
