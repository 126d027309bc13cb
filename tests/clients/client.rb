# Ruby's Net::HTTP: a body without a type is sent as a form.
require "base64"
require "digest"
require "json"
require "net/http"

picture = ARGV[0]
image = Base64.strict_encode64(File.binread(picture))
url = ENV["FACE_URL"]
key = { "X-API-Key" => ENV["FACE_API_KEY"] }
known = { "Apid" => ENV["FACE_APID"], "Kvalue" => ENV["FACE_KVALUE"] }

def say(name, response)
  puts "#{name} #{response.code} #{response.body}"
end

def send_request(request)
  Net::HTTP.start(request.uri.host, request.uri.port, nil) { |http| http.request(request) }
end

say "a", Net::HTTP.post_form(URI("#{url}/api/detection"), known.merge("Fimg" => image))
list = Net::HTTP::Get.new(URI("#{url}/api/face"))
list.set_form_data(known)
say "a-get", send_request(list)

say "b", Net::HTTP.post(URI("#{url}/api/faces"), JSON.generate("image" => image), key)

compare = Net::HTTP::Post.new(URI("#{url}/identity/compare_faces_in_two_images"))
File.open(picture, "rb") do |one|
  File.open(picture, "rb") do |two|
    compare.set_form(
      [["api_id", ENV["FACE_API_ID"]], ["api_secret", ENV["FACE_API_SECRET"]],
       ["image_one_file", one], ["image_two_file", two]],
      "multipart/form-data",
    )
    say "c", send_request(compare)
  end
end

# Base64.encode64 breaks lines after 60 letters.
search = Net::HTTP::Post.new(URI("#{url}/v1/searchface"), key)
search.set_form_data("img" => Base64.encode64(File.binread(picture)))
say "d", send_request(search)

request = {
  "appId" => ENV["FACE_APP_ID"], "data" => { "image" => image }, "encType" => "plain",
  "signType" => "SHA256", "timestamp" => Time.now.to_i, "version" => "1"
}
pairs = request.map { |name, value| "#{name}=#{value.is_a?(Hash) ? JSON.generate(value) : value}" }
signed = [*pairs, "key=#{ENV["FACE_APP_SECRET"]}"].join("&")
request["signData"] = Base64.strict_encode64(Digest::SHA256.hexdigest(signed))
say "e", Net::HTTP.post(URI("#{url}/face2/locate"), JSON.generate(request))
