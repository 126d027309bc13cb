// libcurl from C++: a form's Content-Type for every body, multipart by curl_mime.
#include <curl/curl.h>
#include <openssl/evp.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

using std::string;

static string env(const char *name) { return std::getenv(name); }

static size_t collect(char *data, size_t size, size_t count, void *to) {
    static_cast<string *>(to)->append(data, size * count);
    return size * count;
}

static void finish(const string &name, CURL *curl, const string &path, curl_slist *headers) {
    string answer;
    long status = 0;
    curl_easy_setopt(curl, CURLOPT_URL, (env("FACE_URL") + path).c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    if (CURLcode failed = curl_easy_perform(curl)) std::cerr << curl_easy_strerror(failed) << "\n";
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    std::cout << name << " " << status << " " << answer << "\n";
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
}

static void call(const string &name, const string &path, const string &body, bool key = false,
                 const char *method = "POST") {
    CURL *curl = curl_easy_init();
    curl_slist *headers = nullptr;
    if (key) headers = curl_slist_append(headers, ("X-API-Key: " + env("FACE_API_KEY")).c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    finish(name, curl, path, headers);
}

static string base64(const string &raw) {
    string encoded(4 * ((raw.size() + 2) / 3) + 1, '\0');
    auto *to = reinterpret_cast<unsigned char *>(encoded.data());
    auto *from = reinterpret_cast<const unsigned char *>(raw.data());
    encoded.resize(EVP_EncodeBlock(to, from, static_cast<int>(raw.size())));
    return encoded;
}

static string sha256_hex(const string &text) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    EVP_Digest(text.data(), text.size(), digest, &length, EVP_sha256(), nullptr);
    string hex;
    for (unsigned int at = 0; at < length; ++at) {
        hex += "0123456789abcdef"[digest[at] >> 4];
        hex += "0123456789abcdef"[digest[at] & 15];
    }
    return hex;
}

int main(int, char **arguments) {
    std::ifstream file(arguments[1], std::ios::binary);
    string picture((std::istreambuf_iterator<char>(file)), {});
    string image = base64(picture);
    char *quoted = curl_easy_escape(nullptr, image.c_str(), static_cast<int>(image.size()));
    string known = "Apid=" + env("FACE_APID") + "&Kvalue=" + env("FACE_KVALUE");
    call("a", "/api/detection", known + "&Fimg=" + quoted);
    call("a-get", "/api/face", known, false, "GET");

    string json = "{\"image\":\"" + image + "\"}";
    call("b", "/api/faces", json, true);

    CURL *curl = curl_easy_init();
    curl_mime *form = curl_mime_init(curl);
    for (const char *name : {"api_id", "api_secret"}) {
        curl_mimepart *part = curl_mime_addpart(form);
        curl_mime_name(part, name);
        curl_mime_data(part, env(name[4] == 'i' ? "FACE_API_ID" : "FACE_API_SECRET").c_str(),
                       CURL_ZERO_TERMINATED);
    }
    for (const char *name : {"image_one_file", "image_two_file"}) {
        curl_mimepart *part = curl_mime_addpart(form);
        curl_mime_name(part, name);
        curl_mime_filedata(part, arguments[1]);
    }
    curl_easy_setopt(curl, CURLOPT_MIMEPOST, form);
    finish("c", curl, "/identity/compare_faces_in_two_images", nullptr);
    curl_mime_free(form);

    // Not encoded: each + of Base64 arrives as a blank.
    call("d", "/v1/searchface", "img=" + image, true);

    string now = std::to_string(std::time(nullptr)), app = env("FACE_APP_ID");
    string signature = base64(sha256_hex(
        "appId=" + app + "&data=" + json + "&encType=plain&signType=SHA256&timestamp=" + now +
        "&version=1&key=" + env("FACE_APP_SECRET")));
    call("e", "/face2/locate",
         "{\"appId\":\"" + app + "\",\"data\":" + json +
             ",\"encType\":\"plain\",\"signType\":\"SHA256\",\"timestamp\":" + now +
             ",\"version\":\"1\",\"signData\":\"" + signature + "\"}");
    curl_free(quoted);
}
