// The outputs of a model file, in pixels of the image that was given.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "image.h"
#include "json.h"
#include "masks.h"

struct Detection {
  Box box;
  float score = 0;
  int64_t class_index = 0;
  bool has_mask = false;
  MaskWindow mask;
  std::vector<float> keypoints;  // x, y, score in turn
};

// The tuple's tensors by the names that the description gives them, in the same order.
inline std::map<std::string, at::Tensor> name_outputs(const c10::IValue& returned,
                                                      const Json& description) {
  const std::vector<Json>& schemas = description["outputs"].items;
  const auto& values = returned.toTupleRef().elements();
  if (values.size() != schemas.size()) {
    throw std::runtime_error("the file returns " + std::to_string(values.size()) +
                             " tensors, but describes " + std::to_string(schemas.size()));
  }
  std::map<std::string, at::Tensor> outputs;
  for (size_t i = 0; i < schemas.size(); ++i) {
    outputs[schemas[i]["name"].text] = values[i].toTensor().contiguous();
  }
  return outputs;
}

// From the size that the network saw to that of the image, cut at its edges.
inline Box scale_box(const float* xyxy, float scale_x, float scale_y, const Image& image) {
  const float width = static_cast<float>(image.width), height = static_cast<float>(image.height);
  return {std::clamp(xyxy[0] * scale_x, 0.0f, width), std::clamp(xyxy[1] * scale_y, 0.0f, height),
          std::clamp(xyxy[2] * scale_x, 0.0f, width), std::clamp(xyxy[3] * scale_y, 0.0f, height)};
}

// A mask is (1, h, w) probabilities within the box, or (H, W) of the whole input.
inline MaskWindow read_mask(const at::Tensor& mask, const Box& box, const Image& image,
                            float threshold) {
  const Box whole = {0, 0, static_cast<float>(image.width), static_cast<float>(image.height)};
  const at::Tensor values = mask.to(at::kFloat).contiguous();
  return paste_mask(values.const_data_ptr<float>(), static_cast<int>(values.size(-2)),
                    static_cast<int>(values.size(-1)), values.dim() == 3 ? box : whole, box, image,
                    threshold);
}

inline std::vector<Detection> read_detections(const std::map<std::string, at::Tensor>& outputs,
                                              const Image& image, float mask_threshold) {
  const int64_t* input_hw = outputs.at("image_size").const_data_ptr<int64_t>();
  const float scale_y = static_cast<float>(static_cast<double>(image.height) / input_hw[0]);
  const float scale_x = static_cast<float>(static_cast<double>(image.width) / input_hw[1]);
  const at::Tensor &boxes = outputs.at("boxes"), &scores = outputs.at("scores"),
                   &classes = outputs.at("classes");
  const auto masks = outputs.find("masks"), keypoints = outputs.find("keypoints");
  std::vector<Detection> detections;
  for (int64_t i = 0; i < boxes.size(0); ++i) {
    Detection one;
    one.box = scale_box(boxes.const_data_ptr<float>() + 4 * i, scale_x, scale_y, image);
    if (!(one.box.right > one.box.left && one.box.bottom > one.box.top)) continue;
    one.score = scores.const_data_ptr<float>()[i];
    one.class_index = classes.const_data_ptr<int64_t>()[i];
    if (masks != outputs.end()) {
      one.mask = read_mask(masks->second[i], one.box, image, mask_threshold);
      one.has_mask = true;
    }
    if (keypoints != outputs.end()) {
      const int64_t length = keypoints->second.size(1) * 3;
      const float* points = keypoints->second.const_data_ptr<float>() + i * length;
      for (int64_t k = 0; k < length; k += 3) {
        one.keypoints.insert(one.keypoints.end(),
                             {points[k] * scale_x, points[k + 1] * scale_y, points[k + 2]});
      }
    }
    detections.push_back(one);
  }
  return detections;
}

template <typename Number>
void write_list(std::ostream& out, const std::vector<Number>& numbers) {
  out << "[";
  for (size_t i = 0; i < numbers.size(); ++i) out << (i ? ", " : "") << numbers[i];
  out << "]";
}

// One object of JSON for each detection, best first.
inline void write_json(std::ostream& out, const std::vector<Detection>& detections,
                       const Json& description, const Image& image) {
  const std::vector<Json>& names = description["class_names"].items;
  out.precision(9);  // enough for every float to be read back as it was
  out << "[";
  for (size_t i = 0; i < detections.size(); ++i) {
    const Detection& one = detections[i];
    out << (i ? ",\n" : "\n") << " {\"class\": " << one.class_index << ", \"name\": \""
        << names.at(one.class_index).text << "\", \"score\": " << one.score << ", \"box\": ";
    write_list<float>(out, {one.box.left, one.box.top, one.box.right, one.box.bottom});
    if (one.has_mask) {
      out << ", \"mask\": {\"size\": [" << image.height << ", " << image.width
          << "], \"counts\": ";
      write_list(out, run_lengths(one.mask, image.height, image.width));
      out << "}";
    }
    if (!one.keypoints.empty()) {
      out << ", \"keypoints\": ";
      write_list(out, one.keypoints);
    }
    out << "}";
  }
  out << "\n]\n";
}
