// Small masks of boxes become pixels of the image.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "image.h"

struct Box {
  float left, top, right, bottom;  // pixels
};

// A rectangle of the image with a mask in it; outside of it the mask is empty.
struct MaskWindow {
  int left = 0, top = 0, right = 0, bottom = 0;
  std::vector<uint8_t> inside;  // row by row, 0 or 1

  bool at(int x, int y) const {
    if (x < left || x >= right || y < top || y >= bottom) return false;
    return inside[static_cast<size_t>(y - top) * (right - left) + (x - left)] != 0;
  }
};

// The probability at a place of the small mask; cell centres are whole numbers, outside is 0.
inline float sample(const float* mask, int rows, int columns, float y, float x) {
  const int top = static_cast<int>(std::floor(y)), left = static_cast<int>(std::floor(x));
  const float down = y - top, across = x - left;
  const auto cell = [&](int row, int column) {
    const bool exists = row >= 0 && row < rows && column >= 0 && column < columns;
    return exists ? mask[row * columns + column] : 0.0f;
  };
  return cell(top, left) * (1 - down) * (1 - across) + cell(top, left + 1) * (1 - down) * across +
         cell(top + 1, left) * down * (1 - across) + cell(top + 1, left + 1) * down * across;
}

// Reads a mask that fills the box `extent` at the centre of each pixel of the box `shown` and of one
// pixel around it. Masks of boxes fill what is shown, masks of whole images fill the image.
inline MaskWindow paste_mask(const float* mask, int rows, int columns, const Box& extent,
                             const Box& shown, const Image& image, float threshold) {
  MaskWindow window;
  window.left = std::max(static_cast<int>(std::floor(shown.left)) - 1, 0);
  window.top = std::max(static_cast<int>(std::floor(shown.top)) - 1, 0);
  window.right = std::min(static_cast<int>(std::ceil(shown.right)) + 1, image.width);
  window.bottom = std::min(static_cast<int>(std::ceil(shown.bottom)) + 1, image.height);
  for (int y = window.top; y < window.bottom; ++y) {
    const float row = (y + 0.5f - extent.top) / (extent.bottom - extent.top) * rows - 0.5f;
    for (int x = window.left; x < window.right; ++x) {
      const float column =
          (x + 0.5f - extent.left) / (extent.right - extent.left) * columns - 0.5f;
      window.inside.push_back(sample(mask, rows, columns, row, column) >= threshold);
    }
  }
  return window;
}

// COCO's run lengths: down the columns, empty and filled in turn, beginning with empty.
inline std::vector<int64_t> run_lengths(const MaskWindow& window, int height, int width) {
  std::vector<int64_t> counts = {0};
  bool filled = false;
  for (int x = 0; x < width; ++x) {
    for (int y = 0; y < height; ++y) {
      if (window.at(x, y) != filled) {
        filled = !filled;
        counts.push_back(0);
      }
      ++counts.back();
    }
  }
  return counts;
}

// Mixes a colour into the pixels of a mask, half and half.
inline void tint(Image& image, const MaskWindow& window, const uint8_t (&rgb)[3]) {
  for (int y = window.top; y < window.bottom; ++y) {
    for (int x = window.left; x < window.right; ++x) {
      if (!window.at(x, y)) continue;
      uint8_t* pixel = &image.rgb[(static_cast<size_t>(y) * image.width + x) * 3];
      for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>((pixel[c] + rgb[c]) / 2);
    }
  }
}
