/* What the curl tool does with one file, on the libcurl that this is linked with: a blocking transfer,
 * fwrite to a file, or a form whose file libcurl reads itself. Prints JSON: bytes, seconds, CPU
 * seconds, version.
 *   libcurl_file download URL FILE CA | libcurl_file upload URL FILE CA */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "clocks.h"

static size_t drop(char *data, size_t size, size_t count, void *owner) {
  (void)data;
  (void)owner;
  return size * count;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    puts(curl_version());
    return 0;
  }
  int uploads = strcmp(argv[1], "upload") == 0;
  curl_global_init(CURL_GLOBAL_ALL);
  CURL *easy = curl_easy_init();
  FILE *file = uploads ? NULL : fopen(argv[3], "wb");
  curl_mime *form = curl_mime_init(easy);
  curl_easy_setopt(easy, CURLOPT_URL, argv[2]);
  curl_easy_setopt(easy, CURLOPT_CAINFO, argv[4]);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 102400L); /* as the tool has it */
  curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
  if (uploads) {
    curl_mimepart *part = curl_mime_addpart(form);
    curl_mime_name(part, "file");
    curl_mime_filedata(part, argv[3]);
    curl_easy_setopt(easy, CURLOPT_MIMEPOST, form);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
  } else {
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, file);
  }
  double wall = seconds(), used = cpu();
  CURLcode code = curl_easy_perform(easy);
  if (file) fclose(file);
  wall = seconds() - wall;
  used = cpu() - used;
  if (code) {
    fprintf(stderr, "%s\n", curl_easy_strerror(code));
    return 1;
  }
  curl_off_t bytes = 0;
  curl_easy_getinfo(easy, uploads ? CURLINFO_SIZE_UPLOAD_T : CURLINFO_SIZE_DOWNLOAD_T, &bytes);
  printf("{\"bytes\": %lld, \"seconds\": %.6f, \"cpu\": %.6f}\n", (long long)bytes, wall, used);
  return 0;
}
