// Images as plain bytes, and the way into and out of a tensor.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

// Rows of pixels from the top; each pixel is red, green, blue.
struct Image {
  int height = 0;
  int width = 0;
  std::vector<uint8_t> rgb;
};

inline Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no image file at '" + path + "'");
  std::string kind;
  Image image;
  int largest = 0;
  file >> kind >> image.width >> image.height >> largest;
  file.get();  // the one white space before the pixels
  if (!file || kind != "P6" || largest != 255 || image.width < 1 || image.height < 1) {
    throw std::runtime_error("'" + path + "' is no PPM image of 8 bits (P6 without comments)");
  }
  image.rgb.resize(static_cast<size_t>(image.height) * image.width * 3);
  if (!file.read(reinterpret_cast<char*>(image.rgb.data()), image.rgb.size())) {
    throw std::runtime_error("'" + path + "' ends before its pixels do");
  }
  return image;
}

inline void write_ppm(const std::string& path, const Image& image) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n" << image.width << " " << image.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(image.rgb.data()), image.rgb.size());
  if (!file) throw std::runtime_error("'" + path + "' cannot be written");
}

// Height and width so that the shorter edge has a length, unless the longer one gets too long.
inline std::array<int64_t, 2> shortest_edge_size(int height, int width, double shortest,
                                                 double longest) {
  const double shorter = std::min(height, width);
  std::array<double, 2> sides = {height == shorter ? shortest : height * (shortest / shorter),
                                 width == shorter ? shortest : width * (shortest / shorter)};
  const double longer = std::max(sides[0], sides[1]);
  if (longer > longest) {
    for (double& side : sides) side *= longest / longer;
  }
  return {std::max<int64_t>(static_cast<int64_t>(sides[0] + 0.5), 1),
          std::max<int64_t>(static_cast<int64_t>(sides[1] + 0.5), 1)};
}

// (3, H, W) float32, 0 to 255, with the channels in the order that the file takes.
inline at::Tensor to_tensor(const Image& image, const std::string& order) {
  auto* bytes = const_cast<uint8_t*>(image.rgb.data());
  at::Tensor pixels = at::from_blob(bytes, {image.height, image.width, 3}, at::kByte);
  at::Tensor planes = pixels.permute({2, 0, 1}).to(at::kFloat);  // a copy
  return (order == "BGR" ? planes.flip(0) : planes).contiguous();
}

// Bilinear, and smoothed when shrinking. On a phone the system's own scaling of pictures serves.
inline at::Tensor resize(const at::Tensor& planes, std::array<int64_t, 2> size_hw) {
  if (planes.size(1) == size_hw[0] && planes.size(2) == size_hw[1]) return planes;
  at::Tensor resized = at::_upsample_bilinear2d_aa(planes.unsqueeze(0), size_hw,
                                                   /*align_corners=*/false);
  return resized.squeeze(0).clamp(0, 255);
}
