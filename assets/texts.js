// Every text of the page: English, Traditional Chinese. A test checks that neither is missing.
export const table = {
	title: ['roomd', 'roomd'],
	client: ['Client #{}', '訪客 #{}'],
	you: ['You', '你'],
	left: ['Client #{} left the chat', '訪客 #{} 離開了聊天室'],
	nowYou: ['You are now #{}', '你現在是 #{}'],
	gap: ['Not connected from {} to {}: what was said meanwhile is missing here', '{} 到 {} 未連線：這段時間的訊息不在這裡'],
	blank: ['(blank)', '（空白）'],
	showAll: ['Show all', '顯示全文'],
	empty: ['Nothing has been said yet. Everybody who opens this page sees what you write.', '還沒有人說話。開啟這個網頁的人都看得到你寫的訊息。'],
	toEnd: ['Newest', '最新訊息'],
	newMessages: ['{} new', '{} 則新訊息'],
	log: ['Messages', '訊息'],
	message: ['Message', '訊息'],
	placeholder: ['Write a message', '輸入訊息'],
	send: ['Send', '送出'],
	keys: ['Enter sends, Shift+Enter makes a new line', '按 Enter 送出，Shift+Enter 換行'],
	tooMany: ['{} bytes too many', '超過 {} 位元組'],
	tooLong: ['Too long to send: a message can have {} bytes.', '太長而無法送出：一則訊息最多 {} 位元組。'],
	notConnected: ['Not connected. Your text stays here until you can send it.', '尚未連線。文字會留在這裡，連線後即可送出。'],
	unsent: ['Not known to be sent', '可能未送出'],
	sending: ['Sending…', '傳送中…'],
	sendAgain: ['Send again', '重新送出'],
	discard: ['Discard', '捨棄'],
	connecting: ['Connecting…', '連線中…'],
	connected: ['Connected', '已連線'],
	lost: ['Connection lost', '連線中斷'],
	refused: ['Refused by the server: {}', '伺服器拒絕連線：{}'],
	refusedUnsaid: ['it may be full, or not allow this address', '可能已滿，或不允許這個位址'],
	closed: ['Closed by the server: {}', '伺服器已關閉連線：{}'],
	closed1001: ['it stops or restarts', '正在停止或重新啟動'],
	closed1009: ['a message was too long', '訊息太長'],
	closed1011: ['this page did not answer in time', '這個網頁沒有及時回應'],
	closed1013: ['this page was too slow to keep up', '這個網頁跟不上訊息的速度'],
	nextTry: ['Next try in {} s', '{} 秒後重試'],
	trying: ['Trying…', '重試中…'],
	tryNow: ['Try now', '立即重試'],
	settings: ['Settings', '設定'],
	number: ['Your number', '你的號碼'],
	numberHint: ['Others see you as this number.', '其他人看到的你就是這個號碼。'],
	numberWrong: ['It must be a whole number from {} to {}.', '必須是 {} 到 {} 的整數。'],
	sound: ['Sound for new messages while I am elsewhere', '不在這個網頁時，新訊息以聲音提示'],
	notify: ['Notifications while this tab is hidden', '分頁隱藏時顯示通知'],
	notifyInsecure: ['Browsers allow notifications only over https or on localhost; this page came over plain http.', '瀏覽器只在 https 或 localhost 允許通知，而這個網頁使用一般的 http。'],
	notifyMissing: ['This browser has no notifications.', '這個瀏覽器不提供通知。'],
	notifyDenied: ['The browser’s settings block notifications from this page.', '瀏覽器的設定封鎖了這個網頁的通知。'],
	toEcho: ['Test the connection', '測試連線'],
	cancel: ['Cancel', '取消'],
	save: ['Save', '儲存'],
	toRoom: ['To the room', '回聊天室'],
	echoTitle: ['roomd: connection test', 'roomd：連線測試'],
	echoEmpty: ['Write something to see it come back. Nobody else sees it.', '輸入文字，看它傳回來。別人看不到。'],
	meter: ['Round-trip times', '來回時間'],
	last: ['Last', '最近'],
	median: ['Median', '中位數'],
	worst: ['Worst', '最久'],
	unanswered: ['Unanswered', '未回應'],
	ms: ['{} ms', '{} 毫秒'],
	scale: ['0 to {} ms, the last 120 messages', '0 到 {} 毫秒，最近 120 則'],
	steady: ['Send one every second', '每秒送出一則'],
	sent: ['Sent', '送出'],
	cameBack: ['Came back', '傳回'],
	wrong: ['not what was sent', '與送出的內容不同'],
	noAnswer: ['No answer', '沒有回應'],
};

// Readers of Simplified Chinese are nearer to Traditional Chinese than to English, so any zh gets it.
const spoken = navigator.languages.find((language) => /^(en|zh)\b/i.test(language)) ?? 'en';
const column = /^zh/i.test(spoken) ? 1 : 0;
export const language = ['en', 'zh-Hant'][column];

// The text `key`, with each {} filled in turn.
export const say = (key, ...values) => table[key][column].replace(/{}/g, () => values.shift());

const time = new Intl.DateTimeFormat(language, { timeStyle: 'short' });
const day = new Intl.DateTimeFormat(language, { dateStyle: 'full' });
const number = new Intl.NumberFormat(language);
export const asTime = (date) => time.format(date);
export const asDay = (date) => day.format(date);
export const asNumber = (n) => number.format(n);
