// Logits of a prompt, and of a greedy continuation of it, by llama.cpp, for comparison:
//   llama_logits MODEL.gguf CONTEXT f16|f32 CONTINUE OUT TOKEN...
// Writes float32 [tokens + CONTINUE, vocabulary]. Built by llama_cpp.py against a llama.cpp build.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llama.h"

static void report_errors(ggml_log_level level, const char* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

int main(int argc, char** argv) {
  if (argc < 7) return 2;
  llama_log_set(report_errors, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (!model) return 3;
  const int steps = std::atoi(argv[4]);
  std::vector<llama_token> tokens;
  for (int i = 6; i < argc; ++i) tokens.push_back(std::atoi(argv[i]));

  llama_context_params params = llama_context_default_params();
  params.n_ctx = std::atoi(argv[2]);
  params.n_batch = params.n_ubatch = tokens.size();
  params.n_threads = params.n_threads_batch = 1;
  params.type_k = params.type_v = std::strcmp(argv[3], "f32") ? GGML_TYPE_F16 : GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* context = llama_init_from_model(model, params);
  if (!context) return 4;

  std::FILE* out = std::fopen(argv[5], "wb");
  if (!out) return 5;
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  llama_batch batch = llama_batch_init(tokens.size(), 0, 1);
  int position = 0;
  for (int step = 0; step <= steps; ++step) {
    batch.n_tokens = tokens.size();
    for (int i = 0; i < batch.n_tokens; ++i) {
      batch.token[i] = tokens[i];
      batch.pos[i] = position++;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) return 6;
    const float* last = nullptr;
    for (int i = 0; i < batch.n_tokens; ++i) {
      last = llama_get_logits_ith(context, i);
      std::fwrite(last, sizeof(float), vocabulary, out);
    }
    tokens.assign(1, static_cast<llama_token>(std::max_element(last, last + vocabulary) - last));
  }
  std::fclose(out);
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  return 0;
}
