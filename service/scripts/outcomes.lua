-- What became of claims, in one batch. An outcome counts only under its claim's token, except that a late
-- 2xx turns a delivery that is still open into a delivered one.
-- ARGV     six per outcome: workspace, endpoint, event, token, verdict, log item
--          verdict: d delivered · x exhausted · c cancelled · h held · rN try again in N ms · u not sent after all
-- returns  how many applied
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local touched, applied = {}, 0

local function note(log, item)
  if item == '' then return log end
  if log == '' then return item end
  return log .. ',' .. item
end

for i = 1, #ARGV, 6 do
  local ws, ep, event, token, verdict, item = unpack(ARGV, i, i + 5)
  local key = K.event(event)
  local line = redis.call('HGET', key, ep)
  local state, attempts, holder, log = string.match(line or '', '^(%a)|(%d+)|([^|]*)|(.*)$')
  if state then
    local mine = holder == token
    local open = state == 'p' or state == 'r'
    if mine and redis.call('ZREM', K.FLIGHT, event .. ' ' .. ep) == 1 then
      if redis.call('HINCRBY', K.running(ws), ep, -1) <= 0 then redis.call('HDEL', K.running(ws), ep) end
      touched[ep] = ws
    end
    if mine then holder = '' end
    if mine or (open and verdict == 'd') then
      applied = applied + 1
      local word = string.sub(verdict, 1, 1)
      if open then
        if word == 'r' then
          redis.call('ZADD', K.wait(ep), now + tonumber(string.sub(verdict, 2)), event)
          state = 'r'
        elseif word == 'u' then
          attempts = attempts - 1
          redis.call('ZADD', K.wait(ep), now, event)
          if attempts == 0 then state = 'p' end
        else
          redis.call('ZREM', K.wait(ep), event)
          if word ~= 'h' then redis.call('HINCRBY', key, 'open', -1) end
          state = word
        end
        touched[ep] = ws
      end
      redis.call('HSET', key, ep, state .. '|' .. attempts .. '|' .. holder .. '|' .. note(log, item))
    end
  elseif redis.call('ZREM', K.FLIGHT, event .. ' ' .. ep) == 1 then
    if redis.call('HINCRBY', K.running(ws), ep, -1) <= 0 then redis.call('HDEL', K.running(ws), ep) end
    touched[ep] = ws
  end
end

for ep, ws in pairs(touched) do
  local next = redis.call('ZRANGE', K.wait(ep), 0, 0, 'WITHSCORES')
  if next[2] then
    redis.call('ZADD', K.due(ws), next[2], ep)
    redis.call('ZADD', K.TURNS, 'LT', next[2], ws)
  else
    redis.call('ZREM', K.due(ws), ep)
  end
end
return applied
