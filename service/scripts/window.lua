-- Jobs in the window that something may be wrong with: all but those that the vendor has.
-- ARGV     cursor of the window, how many
-- returns  next cursor, then state and job for each
local found = redis.call('ZSCAN', K.WINDOW, ARGV[1], 'COUNT', ARGV[2])
local odd = {found[1]}
for i = 1, #found[2], 2 do
  local job = found[2][i]
  local state = string.match(redis.call('HGET', K.job(job), 'state') or '', '^%S+')
  if not state then
    redis.call('ZREM', K.WINDOW, job)
  elseif state ~= 'processing' then
    odd[#odd + 1], odd[#odd + 2] = state, job
  end
end
return odd
