-- For wrk: one POST with a body of so many bytes and the fields an API client sends.
-- wrk ... -s post.lua URL -- BYTES
wrk.method = 'POST'

function init(args)
  wrk.headers['User-Agent'] = 'bench/1.0'
  wrk.headers['Accept'] = 'application/json'
  wrk.headers['Content-Type'] = 'application/octet-stream'
  wrk.headers['Authorization'] = 'Bearer 0123456789abcdef0123456789abcdef'
  wrk.body = string.rep('x', tonumber(args[1]))
end
