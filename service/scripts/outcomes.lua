-- What became of claims, in one batch. An outcome counts only under its claim's token, except that a late
-- 2xx turns a delivery that is still open, and was never made, into a delivered one.
-- ARGV     six per outcome: workspace, endpoint, event, token, verdict, log item and, after a line feed, the answer
--          verdict: d delivered · rN try again in N ms · x exhausted · s as x, and an ordered endpoint stops there
--                   g the endpoint is gone: off, and the delivery waits (a job's own: as x) · c cancelled
--                   bN as r, and the endpoint is not to blame · uN not sent after all: again in N ms, uncounted
-- returns  how many applied
local now = clock()
local touched, landed, running, closed, fresh, writes, unsaid, applied = {}, {}, {}, {}, {}, {}, {}, 0
local paces, health = {}, {}
local BLAMED = {r = true, x = true, s = true, g = true}
local DAY, DAYS_KEPT = 86400000, 8 * 86400

local function land(ws, ep)
  running[ep] = (running[ep] or 0) + 1
  touched[ep] = ws
end

local function paced(ep)
  paces[ep] = paces[ep] or pace(ep)
  return paces[ep]
end

local function note(log, item)
  if item == '' then return log end
  if log == '' then return item end
  return log .. ',' .. item
end

-- The first answer and the last are kept until it is delivered or cancelled, each with when its attempt was.
local function keep_answer(key, words, ep, log, item, word, answer)
  if word == 'd' or word == 'c' then
    if log ~= '' then
      local gone = unsaid[key] or {}
      unsaid[key] = gone
      gone[#gone + 1], gone[#gone + 2] = 'first:' .. ep, 'last:' .. ep
    end
  elseif answer ~= '' and item ~= '' then
    local first = redis.call('HEXISTS', key, 'first:' .. ep) == 0
    words[#words + 1] = (first and 'first:' or 'last:') .. ep
    words[#words + 1] = string.match(item, '^%[(%d+)') .. '|' .. answer
  end
end

local function wait_again(ep, event, state, at)
  local s = paced(ep)
  if s.ordered then
    -- Somebody may have asked for an earlier one meanwhile: that has not failed.
    if (redis.call('ZRANK', K.line(ep), event) or 0) == 0 then
      s.next = at
      redis.call('HSET', K.endpoint(ep), 'next', at)
    end
  else
    redis.call('ZADD', state == 'p' and K.wait(ep) or K.late(ep), at, event)
  end
end

local function wait_no_more(ep, event, mine)
  local s = paced(ep)
  if s.ordered or not s.known then redis.call('ZREM', K.line(ep), event) end
  if s.ordered then
    if s.next > 0 then
      s.next = 0
      redis.call('HDEL', K.endpoint(ep), 'next')
    end
  elseif not mine then
    redis.call('ZREM', K.wait(ep), event)
    redis.call('ZREM', K.late(ep), event)
  end
end

local function tell(kind, ws, ep, event, attempts, item, answer)
  if paced(ep).listed then
    local told = {kind = kind, ws = ws, endpoint = ep, event = event, at = now, attempts = tonumber(attempts), item = item, answer = answer}
    redis.call('RPUSH', K.NOTES, cjson.encode(told))
  end
end

-- Nothing more is sent there; it is told once, not for each attempt that was under way.
local function halt(kind, ws, ep, ...)
  local s = paced(ep)
  if s.halted then return end
  s.off, s.halted = true, true
  redis.call('HSET', K.endpoint(ep), 'off', '1', 'halted', '1')
  tell(kind, ws, ep, ...)
end

-- What an outcome comes to: nothing is kept for an endpoint that is deleted meanwhile, and a job's own, which nobody
-- can enable again, is told no more.
local function meaning(word, ep)
  local s = paced(ep)
  if not s.known and word ~= 'd' then return 'c' end
  if word == 'g' and not s.listed then return 'x' end
  return word
end

-- Failures in a row, in the order of the batch; what the endpoint did last decides.
local function judge(ws, ep, word, item)
  if not paced(ep).listed or not (word == 'd' or BLAMED[word]) then return end
  local h = health[ep] or {ws = ws, good = 0, bad = 0, row = 0, x = 0, took = {}}
  health[ep] = h
  if word == 'd' then
    h.good, h.row, h.made = h.good + 1, 0, item
    local ms = tonumber(string.match(item, '^%[%d+,[^,]+,[^,]+,(%d+)') or '')
    -- A fifth more from one to the next: half of that is as exact as it gets.
    if ms then
      local bucket = 'b' .. math.floor(math.log(ms + 1) / math.log(1.2))
      h.took[bucket] = (h.took[bucket] or 0) + 1
    end
  else
    h.bad, h.row = h.bad + 1, h.row + 1
    if item ~= '' then h.failed = item end
    if word == 'x' or word == 's' then h.x = h.x + 1 end
  end
end

for i = 1, #ARGV, 6 do
  local ws, ep, event, token, verdict, said = unpack(ARGV, i, i + 5)
  local item, answer = string.match(said, '^([^\n]*)\n?(.*)$')
  local key, pair = K.event(event), event .. ' ' .. ep
  local line = fresh[pair] or redis.call('HGET', key, ep)
  local state, attempts, holder, log = string.match(line or '', '^(%a)|(%d+)|([^|]*)|(.*)$')
  if state then
    local mine = holder == token
    local open = state == 'p' or state == 'r'
    local word, delay = string.sub(verdict, 1, 1), tonumber(string.sub(verdict, 2)) or 0
    attempts = tonumber(attempts)
    if mine then
      landed[#landed + 1] = pair
      land(ws, ep)
      holder = ''
      judge(ws, ep, word, item)
    end
    -- It was delivered before, and somebody has asked for it since: a success that is told twice, or comes late from
    -- an earlier claim, is not what was asked for.
    local asked = string.find(log, '%[%d+,2%d%d,null,')
    if mine or (open and word == 'd' and not asked) then
      applied = applied + 1
      local words = writes[key] or {}
      writes[key] = words
      if open then
        touched[ep] = ws
        word = meaning(word, ep)
        if word == 'r' or word == 'b' then
          state = 'r'
          wait_again(ep, event, state, now + delay)
        elseif word == 'u' then
          attempts = attempts - 1
          if attempts == 0 and log == '' then state = 'p' end
          wait_again(ep, event, state, now + delay)
        elseif word == 'g' or word == 's' then
          state = 'r'
          wait_again(ep, event, state, now)
          halt(word == 'g' and 'gone' or 'stopped', ws, ep, event, attempts, item, answer)
        else
          state = word
          wait_no_more(ep, event, mine)
          closed[event] = (closed[event] or 0) + 1
        end
        if word == 'x' or word == 's' then tell('exhausted', ws, ep, event, attempts, item, answer) end
        keep_answer(key, words, ep, log, item, word, answer)
      end
      fresh[pair] = state .. '|' .. attempts .. '|' .. holder .. '|' .. note(log, item)
      words[#words + 1] = ep
      words[#words + 1] = fresh[pair]
    end
  elseif redis.call('ZREM', K.FLIGHT, pair) == 1 then
    land(ws, ep)
  end
end

if #landed > 0 then redis.call('ZREM', K.FLIGHT, unpack(landed)) end
for key, words in pairs(writes) do redis.call('HSET', key, unpack(words)) end
for key, words in pairs(unsaid) do redis.call('HDEL', key, unpack(words)) end
local done = {}
for event, n in pairs(closed) do
  if redis.call('HINCRBY', K.event(event), 'open', -n) <= 0 then done[#done + 1] = event end
end
if #done > 0 then redis.call('ZREM', K.OPEN_EVENTS, unpack(done)) end
for ep, n in pairs(running) do
  if redis.call('HINCRBY', K.running(touched[ep]), ep, -n) <= 0 then redis.call('HDEL', K.running(touched[ep]), ep) end
end

local function count(ep, h)
  local key = K.tally(ep .. ':' .. math.floor(now / DAY))
  local new = redis.call('EXISTS', key) == 0
  if h.good > 0 then redis.call('HINCRBY', key, 'delivered', h.good) end
  if h.bad > 0 then redis.call('HINCRBY', key, 'failed', h.bad) end
  if h.x > 0 then redis.call('HINCRBY', key, 'exhausted', h.x) end
  for bucket, n in pairs(h.took) do redis.call('HINCRBY', key, bucket, n) end
  if new then redis.call('EXPIRE', key, DAYS_KEPT) end
end

-- How long it is left alone once its circuit is open. What was under way when it opened says nothing new: only what
-- was begun after the rest, and that is one probe, makes it longer.
local function lengthen_rest(s, key, row)
  local opens = s.fails < FAILURES_THAT_OPEN
  s.fails = s.fails + row
  if s.ordered or s.fails < FAILURES_THAT_OPEN or not (opens or now >= s.probe) then return end
  s.rest = opens and FIRST_REST or math.min(LONGEST_REST, math.max(FIRST_REST, 2 * s.rest))
  s.probe = now + s.rest
  redis.call('HSET', key, 'probe', s.probe, 'rest', s.rest)
end

-- A success closes the circuit and lets more through at once; a failure halves that, and five in a row open it.
local function diagnose(ep, h)
  local s, key = paces[ep], K.endpoint(ep)
  local since, down = unpack(redis.call('HMGET', key, 'since', 'down'))
  if h.good > 0 and (since or s.fails > 0) then
    s.fails, s.probe, s.rest, since = 0, 0, 0, nil
    redis.call('HDEL', key, 'fails', 'since', 'probe', 'rest')
    redis.call('ZREM', K.FAILING, ep)
  end
  if h.good > 0 and down then
    redis.call('HDEL', key, 'down')
    tell('recovered', h.ws, ep, '', 0, h.made, '')
  end
  local at_once = s.at_once
  if h.good > 0 and at_once < SHARE then at_once = math.min(SHARE, at_once + h.good) end
  if h.bad > 0 then at_once = math.max(1, math.floor(at_once / 2)) end
  if at_once ~= s.at_once then
    s.at_once = at_once
    redis.call('HSET', key, 'at_once', at_once)
  end
  if h.bad > 0 then redis.call('HSET', key, 'failed', h.failed or '') end
  if h.row > 0 then
    lengthen_rest(s, key, h.row)
    redis.call('HSET', key, 'fails', s.fails, 'since', since or now)
    if s.fails >= FAILURES_THAT_OPEN then redis.call('HSET', key, 'down', '1') end
    redis.call('ZADD', K.FAILING, now - tonumber(since or now), ep)
  end
end

for ep, h in pairs(health) do
  -- Deleted meanwhile: nothing of it is to come back.
  if redis.call('HEXISTS', K.endpoint(ep), 'ws') == 1 then
    diagnose(ep, h)
    count(ep, h)
  end
end
for ep, ws in pairs(touched) do place(ws, ep, now, paced(ep)) end
return applied
