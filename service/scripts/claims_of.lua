-- The open claims of an incarnation (or of one of its turns), for whoever frees them.
-- ARGV     beginning of the token, cursor (0 at first), how many claims to look at
-- returns  next cursor (0: done), then workspace, endpoint, event, token, attempt per claim
local prefix, cursor, count = ARGV[1], ARGV[2], ARGV[3]
local scan = redis.call('ZSCAN', K.FLIGHT, cursor, 'COUNT', count)
local found = {tonumber(scan[1])}
for i = 1, #scan[2], 2 do
  local event, ep = string.match(scan[2][i], '^(%S+) (%S+)$')
  local fields = redis.call('HMGET', K.event(event), 'ws', ep)
  local attempts, token = string.match(fields[2] or '', '^%a|(%d+)|([^|]*)|')
  if token and string.sub(token, 1, #prefix) == prefix then
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = fields[1], ep, event
    found[n + 4], found[n + 5] = token, attempts
  end
end
return found
