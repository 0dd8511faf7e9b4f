// Reads JSON, as far as the description in a model file needs it.
#pragma once

#include <cctype>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// A value. Texts keep their escapes (\u00e9), so that they can be written as JSON again unchanged.
struct Json {
  enum class Kind { kText, kOther, kList, kObject };
  Kind kind = Kind::kOther;
  std::string text;         // of a text or a number, or true, false, null
  std::vector<Json> items;  // of a list, or the values of an object
  std::vector<std::string> keys;

  const Json& operator[](const std::string& key) const {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == key) return items[i];
    }
    throw std::runtime_error("the description has no '" + key + "'");
  }

  // Whether it has the key, and true there: files of older versions lack some.
  bool is_true(const std::string& key) const {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == key) return items[i].text == "true";
    }
    return false;
  }

  double number() const { return std::strtod(text.c_str(), nullptr); }
};

class JsonReader {
 public:
  static Json read(const std::string& text) { return JsonReader(text).value(); }

 private:
  explicit JsonReader(const std::string& text) : text_(text) {}

  Json value() {
    switch (peek()) {
      case '{':
        return list('}', Json::Kind::kObject);
      case '[':
        return list(']', Json::Kind::kList);
      case '"':
        return {Json::Kind::kText, quoted(), {}, {}};
      default:
        return {Json::Kind::kOther, word(), {}, {}};
    }
  }

  Json list(char end, Json::Kind kind) {
    Json json;
    json.kind = kind;
    ++at_;
    while (peek() != end) {
      if (kind == Json::Kind::kObject) {
        json.keys.push_back(quoted());
        expect(':');
      }
      json.items.push_back(value());
      if (peek() != end) expect(',');
    }
    ++at_;
    return json;
  }

  std::string quoted() {
    expect('"');
    const size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (at_ >= text_.size()) fail();
    return text_.substr(start, at_++ - start);
  }

  std::string word() {
    const size_t start = at_;
    while (at_ < text_.size() && !std::isspace(static_cast<unsigned char>(text_[at_])) &&
           std::string(",:]}").find(text_[at_]) == std::string::npos) {
      ++at_;
    }
    if (at_ == start) fail();
    return text_.substr(start, at_ - start);
  }

  char peek() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    if (at_ >= text_.size()) fail();
    return text_[at_];
  }

  void expect(char wanted) {
    if (peek() != wanted) fail();
    ++at_;
  }

  [[noreturn]] void fail() const {
    throw std::runtime_error("the description is no JSON, at character " + std::to_string(at_));
  }

  const std::string& text_;
  size_t at_ = 0;
};
