-- What became of claims, in one batch. An outcome counts only under its claim's token, except that a late
-- 2xx turns a delivery that is still open into a delivered one.
-- ARGV     six per outcome: workspace, endpoint, event, token, verdict, log item
--          verdict: d delivered · x exhausted · c cancelled · h held · rN try again in N ms · u not sent after all
-- returns  how many applied
local now = clock()
local touched, landed, running, closed, fresh, writes, applied = {}, {}, {}, {}, {}, {}, 0

local function land(ws, ep)
  running[ep] = (running[ep] or 0) + 1
  touched[ep] = ws
end

local function note(log, item)
  if item == '' then return log end
  if log == '' then return item end
  return log .. ',' .. item
end

for i = 1, #ARGV, 6 do
  local ws, ep, event, token, verdict, item = unpack(ARGV, i, i + 5)
  local key, pair = K.event(event), event .. ' ' .. ep
  local line = fresh[pair] or redis.call('HGET', key, ep)
  local state, attempts, holder, log = string.match(line or '', '^(%a)|(%d+)|([^|]*)|(.*)$')
  if state then
    local mine = holder == token
    local open = state == 'p' or state == 'r'
    if mine then
      landed[#landed + 1] = pair
      land(ws, ep)
      holder = ''
    end
    if mine or (open and verdict == 'd') then
      applied = applied + 1
      local word = string.sub(verdict, 1, 1)
      if open then
        touched[ep] = ws
        if word == 'r' then
          redis.call('ZADD', K.wait(ep), now + tonumber(string.sub(verdict, 2)), event)
          state = 'r'
        elseif word == 'u' then
          attempts = attempts - 1
          redis.call('ZADD', K.wait(ep), now, event)
          if attempts == 0 then state = 'p' end
        else
          -- What is claimed does not wait.
          if not mine then redis.call('ZREM', K.wait(ep), event) end
          if word ~= 'h' then closed[event] = (closed[event] or 0) + 1 end
          state = word
        end
      end
      fresh[pair] = state .. '|' .. attempts .. '|' .. holder .. '|' .. note(log, item)
      local words = writes[key] or {}
      writes[key] = words
      words[#words + 1] = ep
      words[#words + 1] = fresh[pair]
    end
  elseif redis.call('ZREM', K.FLIGHT, pair) == 1 then
    land(ws, ep)
  end
end

if #landed > 0 then redis.call('ZREM', K.FLIGHT, unpack(landed)) end
for key, words in pairs(writes) do redis.call('HSET', key, unpack(words)) end
local done = {}
for event, n in pairs(closed) do
  if redis.call('HINCRBY', K.event(event), 'open', -n) <= 0 then done[#done + 1] = event end
end
if #done > 0 then redis.call('ZREM', K.OPEN_EVENTS, unpack(done)) end
for ep, n in pairs(running) do
  if redis.call('HINCRBY', K.running(touched[ep]), ep, -n) <= 0 then redis.call('HDEL', K.running(touched[ep]), ep) end
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
