-- Keeps the answer. ARGV: run, answer, now, end of the answer, before which end nothing counts any more. Gives 1, or 0 if it is another's.
local r = redis.call('HMGET', KEYS[1], 'run', 'ends', 'answer')
local ends = tonumber(r[2] or '')
if r[1] ~= ARGV[1] or not ends or ends <= tonumber(ARGV[5]) or (r[3] and r[3] ~= ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[2], 'done', '1', 'ends', ARGV[4])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[4]) - tonumber(ARGV[3])))
return 1
