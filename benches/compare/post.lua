-- `wrk -s post.lua URL -- JSON` posts the same document over and over.
function init(arguments)
  wrk.method = "POST"
  wrk.body = arguments[1]
  wrk.headers["Content-Type"] = "application/json"
end
