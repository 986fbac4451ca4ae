-- wrk sends the requests of one string at once and counts the answers one by one: `wrk -s pipeline.lua URL -- DEPTH`.
local batch

function init(arguments)
  local depth = tonumber(arguments[1]) or 16
  local requests = {}
  for i = 1, depth do
    requests[i] = wrk.format(nil)
  end
  batch = table.concat(requests)
end

function request()
  return batch
end
