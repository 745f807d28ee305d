// Answers text questions with llama.cpp's own code, for the peer tests and the golden files:
//   text_oracle ids VOCAB.gguf      token ids of each record
//   text_oracle split RAW REGEX...  lengths in bytes of the pre-tokens of each record;
//                                   RAW is 1 where the vocabulary holds plain UTF-8
// A record on stdin is a line with flags and a byte count, then that many bytes. The flags (ids
// only) are two digits: add_special, parse_special. Each answer is one line of integers.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "llama.h"
#include "unicode.h"

static bool read_record(std::string& flags, std::string& text) {
  size_t bytes = 0;
  if (!(std::cin >> flags >> bytes)) return false;
  std::cin.get();
  text.resize(bytes);
  std::cin.read(text.data(), static_cast<std::streamsize>(bytes));
  return static_cast<bool>(std::cin);
}

template <typename T>
static void print_line(const std::vector<T>& values) {
  for (size_t i = 0; i < values.size(); ++i) std::cout << (i ? " " : "") << values[i];
  std::cout << "\n";
}

static int answer_ids(const char* path) {
  llama_backend_init();
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = llama_model_load_from_file(path, params);
  if (model == nullptr) {
    std::fprintf(stderr, "cannot load %s\n", path);
    return 1;
  }
  const llama_vocab* vocab = llama_model_get_vocab(model);
  std::string flags, text;
  while (read_record(flags, text)) {
    std::vector<llama_token> ids(text.size() * 4 + 16);
    const int count =
        llama_tokenize(vocab, text.data(), static_cast<int>(text.size()), ids.data(),
                       static_cast<int>(ids.size()), flags.at(0) == '1', flags.at(1) == '1');
    ids.resize(count < 0 ? 0 : static_cast<size_t>(count));
    print_line(ids);
  }
  std::vector<llama_token> eog;
  for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    if (llama_vocab_is_eog(vocab, id)) eog.push_back(id);
  }
  print_line(eog);
  print_line(std::vector<int>{llama_vocab_bos(vocab), llama_vocab_eos(vocab),
                              llama_vocab_get_add_bos(vocab), llama_vocab_get_add_eos(vocab)});
  return 0;
}

static int answer_split(bool raw, const std::vector<std::string>& expressions) {
  std::string flags, text;
  while (read_record(flags, text)) {
    std::vector<size_t> lengths;
    // Byte encoding maps each byte to one code point, so count the lead bytes of the result.
    for (const std::string& word : unicode_regex_split(text, expressions, !raw)) {
      size_t length = 0;
      for (const char c : word) length += raw || (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      lengths.push_back(length);
    }
    print_line(lengths);
  }
  return 0;
}

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "ids") return answer_ids(argv[2]);
  if (mode == "split") {
    return answer_split(argv[2][0] == '1', std::vector<std::string>(argv + 3, argv + argc));
  }
  std::fprintf(stderr, "usage: text_oracle ids VOCAB | split RAW REGEX...\n");
  return 2;
}
