-- Count the attempts under way anew from the claims themselves.
-- ARGV     workspace...
-- returns  how many counts were wrong
local counts, wrong, now = {}, 0, clock()
for _, pair in ipairs(redis.call('ZRANGE', K.FLIGHT, 0, -1)) do
  local ep = string.match(pair, ' (%S+)$')
  counts[ep] = (counts[ep] or 0) + 1
end
for _, ws in ipairs(ARGV) do
  local key = K.running(ws)
  local words = redis.call('HGETALL', key)
  for i = 1, #words, 2 do
    local ep, told = words[i], tonumber(words[i + 1])
    local count = counts[ep] or 0
    if told ~= count then
      wrong = wrong + 1
      if count == 0 then redis.call('HDEL', key, ep) else redis.call('HSET', key, ep, count) end
      -- At its limit by a wrong count, nothing would ever take it from there.
      if redis.call('ZSCORE', K.due(ws), ep) == 'inf' then place(ws, ep, now) end
    end
  end
end
return wrong
